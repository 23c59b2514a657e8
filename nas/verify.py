"""The front for real: accuracy on the test set, latency end to end, beside what was estimated."""

from typing import TYPE_CHECKING

import numpy as np

from hw_profiles.device import elsewhere_command
from hw_profiles.profile import measure_networks
from nas.log import Log
from nas.results.run import Results, numeric
from nas.store import RunStore
from nas.trials import Batch
from nas.workbench import Workbench
from search_spaces.space import Archs

if TYPE_CHECKING:
    from pandas import DataFrame

_Z90 = 1.645
_STAGE = "front"


def verify(bench: Workbench, archs: Archs, store: RunStore, log: Log) -> None:
    """Evaluate and measure architectures, and note them as the stage `front`.

    Accuracy is that of the inherited weights after recalibration: `accuracy` on the validation
    images, by which the front is chosen, and `test_accuracy` on the test images, which nothing
    before this has seen. Latency is that of the whole network where the device can be measured;
    elsewhere the estimate stays.
    """
    validation = bench.evaluator.accuracies(archs, bench.evaluator.validation)
    test = bench.evaluator.accuracies(archs, bench.data.load_test())
    columns = {"accuracy": validation, "test_accuracy": test, **bench.costs.evaluate(archs)}
    sources = {"accuracy": "measured", "test_accuracy": "measured", **bench.costs.sources()}
    intervals = bench.costs.intervals(archs)
    graphs = [bench.space.build(arch) for arch in archs]
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
        for metric, pairs in measured.items():
            column = f"{metric}@{name}"
            value, spread = np.array(pairs, float).T
            columns[column], sources[column] = value, found[0].source
            intervals[column] = (value - _Z90 * spread, value + _Z90 * spread)
    store.append(Batch(_STAGE, archs, columns, sources, intervals))


def verified_front(results: Results) -> "DataFrame":
    """Those verified networks that meet the constraints and that no other one beats, as measured.

    Returns:
        by trial id: `arch`, `choices`, then for each metric the verified number and, where it was
        measured, as `<metric>.predicted` what the search had estimated.
    """
    best = results.pareto(stage=_STAGE)
    both = results.front().loc[best.index]
    columns = ["arch", "choices"]
    for name in numeric(best):
        columns.append(name)
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
