"""The front for real: accuracy on the test set, latency end to end, beside what was estimated."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from hw_profiles.device import DeviceSpec, elsewhere_command
from hw_profiles.intervals import Z_90
from hw_profiles.mcu.arena import arena, flash_bytes
from hw_profiles.mcu.lower import lower
from hw_profiles.mcu.memory import KIB, unweighted
from hw_profiles.profile import measure_networks
from hw_profiles.profilers.base import Measurement
from nas.calibration import calibrated
from nas.data.dataset import Split
from nas.export.c import real_outputs
from nas.export.numerics import Images, Outputs
from nas.export.onnx import runner
from nas.log import Log
from nas.results.run import Results, numeric
from nas.store import RunStore
from nas.supernet.executors import input_size
from nas.trials import Batch
from nas.workbench import Workbench
from search_spaces.ir.graph import Graph
from search_spaces.ir.to_onnx import to_bytes, to_onnx
from search_spaces.space import Arch, Archs

if TYPE_CHECKING:
    from pandas import DataFrame

_STAGE = "front"
# Networks in 8 bits that are kept at a time.
_GROUP = 8


def verify(bench: Workbench, archs: Archs, store: RunStore, log: Log) -> None:
    """Evaluate and measure architectures, and note them as the stage `front`.

    Accuracy is that of the inherited weights after recalibration: `accuracy` on the validation
    images, by which the front is chosen, and `test_accuracy` on the test images, which nothing
    before this has seen. Where all devices compute in 8 bits, it is that of the quantised network,
    as it would be exported, and `accuracy_float32` stands beside it; where some do, `accuracy_int8`
    stands beside that of the float32 network, and `accuracy_mcu` for microcontrollers and NPUs, on
    which everything is in 8 bits. RAM and flash of microcontrollers and NPUs are those of the
    whole network's plan. Latency is that of the whole network where the device
    can be measured, quantised for a device in 8 bits; elsewhere the estimate stays.
    """
    graphs = [bench.space.build(arch) for arch in archs]
    accuracies = _accuracies(bench, archs, graphs, log)
    costs, intervals = bench.costs.with_intervals(archs)
    columns = {**accuracies, **costs}
    sources = {**dict.fromkeys(accuracies, "measured"), **bench.costs.sources()}
    controllers = [name for name, device in bench.devices.items() if device.kind == "mcu"]
    for metric, values in _memory(graphs if controllers else ()).items():
        for name in controllers:
            columns[f"{metric}@{name}"], sources[f"{metric}@{name}"] = values, "planned"
    for name, device in bench.devices.items():
        if device.runner is None:
            log(
                f"verify: {name} is not measured here: its latency stays an estimate; to measure "
                f"these networks there: {elsewhere_command(name, str(store.folder))}"
            )
            continue

        def watch(done: int, total: int, eta_s: float, label: str, name: str = name) -> None:
            log.progress(f"verify on {name}", done, total, f"{eta_s:.0f} s left, {label}")

        found = measure_networks(device, graphs, seed=bench.experiment.seed, progress=watch)
        measured = {"latency_ms": [(item.value_us / 1e3, item.spread_us / 1e3) for item in found]}
        metered = [(item.energy_mj, item.energy_spread_mj) for item in found]
        if all(value is not None for value, _ in metered):
            measured["energy_mj"] = [(value or 0.0, spread or 0.0) for value, spread in metered]
        for metric, values in _compiled(found).items():
            columns[f"{metric}@{name}"], sources[f"{metric}@{name}"] = values, "planned"
        for metric, pairs in measured.items():
            column = f"{metric}@{name}"
            value, spread = np.array(pairs, float).T
            columns[column], sources[column] = value, found[0].source
            intervals[column] = (value - Z_90 * spread, value + Z_90 * spread)
    store.append(Batch(_STAGE, archs, columns, sources, intervals))


def _accuracies(
    bench: Workbench, archs: Archs, graphs: Sequence[Graph], log: Log
) -> dict[str, Float[np.ndarray, " n"]]:
    evaluator = bench.evaluator
    splits = {"accuracy": evaluator.validation, "test_accuracy": bench.data.load_test()}
    found = {name: evaluator.accuracies(archs, split) for name, split in splits.items()}
    schemes = {_scheme(device) for device in bench.devices.values()}
    quantized = {}
    for scheme in sorted(schemes - {"float32"}):
        values = _in_8_bits(bench, archs, graphs, [*splits.values()], scheme, log)
        quantized[scheme] = dict(zip(splits, values, strict=True))
    if len(schemes) == 1 and quantized:
        (only,) = quantized.values()
        return only | {f"{name}_float32": values for name, values in found.items()}
    for scheme, values in quantized.items():
        found |= {f"{name}_{scheme}": value for name, value in values.items()}
    return found


def _scheme(device: DeviceSpec) -> str:
    """How numbers are kept: `mcu` is 8 bits throughout, `int8` leaves some layers in float32."""
    if device.kind in ("mcu", "npu"):
        return "mcu"
    return "int8" if device.dtype == "int8" else "float32"


def _in_8_bits(
    bench: Workbench,
    archs: Archs,
    graphs: Sequence[Graph],
    splits: Sequence[Split],
    scheme: str,
    log: Log,
) -> Float[np.ndarray, "splits n"]:
    """Accuracy on each split of the networks as they would be exported in 8 bits.

    A group of networks of one resolution shares the prepared images, each network on one core.
    """
    sizes: dict[tuple[int, int], list[int]] = {}
    for i, graph in enumerate(graphs):
        sizes.setdefault(input_size(graph), []).append(i)
    right, done = np.zeros((len(splits), len(graphs)), int), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for size, members in sizes.items():
            for first in range(0, len(members), _GROUP):
                some = members[first : first + _GROUP]
                runs = [*pool.map(lambda i: _exported(bench, archs[i], graphs[i], scheme), some)]
                for row, split in zip(right, splits, strict=True):
                    for images, labels in bench.evaluator.labelled_batches(split, size):
                        guesses = pool.map(lambda run, x=images: run(x).argmax(1), runs)
                        row[some] += [np.sum(guess == labels) for guess in guesses]
                done += len(some)
                log.progress(f"verify in 8 bits ({scheme})", done, len(graphs))
    return right / np.array([len(split) for split in splits])[:, None]


def _exported(
    bench: Workbench, arch: Arch, graph: Graph, scheme: str
) -> Callable[[Images], Outputs]:
    """A network as it would be exported in 8 bits, ready to run."""
    evaluator, whole = bench.evaluator, scheme == "mcu"
    folded, params = bench.folded(graph, evaluator.statistics(arch, graph))
    batches = evaluator.calibration_batches(input_size(graph))
    stored = calibrated(folded, params, batches, whole=whole)
    if whole:
        return real_outputs(lower(stored, params))
    (image,) = stored.inputs
    return runner(to_bytes(to_onnx(stored, params)), image)


def _memory(graphs: Sequence[Graph]) -> dict[str, Float[np.ndarray, " n"]]:
    """KiB of RAM and of constants in flash of whole networks; nothing for no networks."""
    networks = [unweighted(graph) for graph in graphs]
    sram = [arena(network, simd=None).arena_bytes / KIB for network in networks]
    flash = [flash_bytes(network, simd=True) / KIB for network in networks]
    return {"peak_sram_kib": np.array(sram), "flash_kib": np.array(flash)} if networks else {}


def _compiled(found: Sequence[Measurement]) -> dict[str, Float[np.ndarray, " n"]]:
    """KiB of RAM and flash as a compiler planned them; nothing where none did."""
    told = {
        "peak_sram_kib": [item.sram_kib for item in found],
        "flash_kib": [item.flash_kib for item in found],
    }
    return {metric: np.array(kib, float) for metric, kib in told.items() if None not in kib}


def verified_front(results: Results) -> "DataFrame":
    """Those verified networks that meet the constraints and that no other one beats, as measured.

    Returns:
        by trial id: `arch`, `choices`, then for each metric the verified number, as
        `<metric>.source` where it comes from (counted, measured, estimated, …) and, where it was
        measured, as `<metric>.predicted` what the search had estimated.
    """
    best = results.pareto(stage=_STAGE)
    both = results.front().loc[best.index]
    columns = ["arch", "choices"]
    for name in numeric(best):
        columns += [name, f"{name}.source"]
        if f"{name}.predicted" in both and set(best[f"{name}.source"]) == {"measured"}:
            best[f"{name}.predicted"] = both[f"{name}.predicted"]
            columns.append(f"{name}.predicted")
    return best.loc[:, columns]


def agreement(results: Results) -> dict[str, float]:
    """Mean relative error of what was estimated, for each metric that was measured afterwards."""
    both, measured = results.front(), results.trials(_STAGE)
    return {
        f"error of {name}": float(
            np.mean(np.abs(both[f"{name}.predicted"] / both[f"{name}.measured"] - 1))
        )
        for name in numeric(measured)
        if f"{name}.predicted" in both and set(measured[f"{name}.source"]) == {"measured"}
    }
