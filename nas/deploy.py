"""From a verified network of a run to a file that can be deployed."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hw_profiles.mcu.memory import lowered
from hw_profiles.mcu.patches import best_depth, patched
from hw_profiles.profile import measure_networks
from hw_profiles.profilers.registry import create, measures
from hw_profiles.provenance import capture
from nas.config.direct import DirectExperiment
from nas.export.card import Metric, Network, Origin, Preprocessing
from nas.export.folder import refuse_existing
from nas.export.numerics import Samples
from nas.export.registry import ExportReport, dtype, exporter, runs_on
from nas.results.run import numeric, open_run
from nas.supernet.executors import input_size
from nas.workbench import Workbench
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.patches import Patches
from search_spaces.ir.quantize import quantize_for_timing
from search_spaces.space import Arch

_CHECKED_IMAGES = 64


def export_trial(
    run: Path,
    trial: int,
    target: str,
    folder: Path | None = None,
    patches: int | None = None,
    patch_layers: int | None = None,
) -> ExportReport:
    """Export a network of a run, with the weights and statistics that were verified.

    Args:
        run: the run's folder.
        trial: the network's id.
        target: format, one of `nas.export.registry.names()`.
        folder: new folder to write; `RUN/exports/TRIAL/TARGET` if not given.
        patches: of C, along each side, in which the first layers run, 1 for none; as the
            architecture has it if not given.
        patch_layers: how many layers; as many as take the least memory if not given.

    Raises:
        InputError: there is no such trial or format, or the folder exists.
        RunError: the file does not compute what the searched network computes.
    """
    write = exporter(target)
    results = open_run(run)
    table = results.trials()
    if trial not in table.index:
        raise InputError(
            f"{run}/{trial}: the run has no such network; `nas pareto {run}` lists them"
        )
    arch = np.array(table.loc[[trial], "arch"].iloc[0])
    experiment = results.config
    if isinstance(experiment, DirectExperiment):
        raise InputError(f"{run}: its networks are the user's own: there are none here to export")
    folder = folder or results.folder / "exports" / str(trial) / target
    refuse_existing(folder)
    bench = Workbench(experiment, results.folder)
    graph = bench.space.build(arch)
    if patches is not None or target != "c":
        graph = _in_patches(graph, patches or 1, patch_layers)
    size = input_size(graph)
    stats = bench.evaluator.calibrate(graph)
    checked = bench.data.validation.images[:_CHECKED_IMAGES]
    samples = Samples(
        images=np.asarray(bench.evaluator.prepare(checked, size)),
        calibration=lambda: map(np.asarray, bench.evaluator.calibration_batches(size)),
        test=lambda: bench.evaluator.labelled_batches(bench.data.load_test(), size),
    )
    forward = jax.jit(lambda x: bench.executors.sliced(bench.params, graph, x, stats)[0])
    folded, params = bench.folded(graph, stats)
    network = Network(
        graph=folded,
        params=params,
        origin=_origin(bench, arch),
        preprocessing=_preprocessing(bench),
        classes=bench.data.classes,
        metrics=_metrics(table.loc[[trial]]),
        latency=_latency(bench, graph, target),
    )
    return write(network, folder, samples=samples, reference=forward)


def _preprocessing(bench: Workbench) -> Preprocessing:
    data = bench.data
    shape = dict(zip(("height", "width", "channels"), data.input_shape, strict=True))
    mean, std = (tuple(map(float, figures)) for figures in (data.mean, data.std))
    return Preprocessing(mean, std, {**bench.experiment.data.reading(), **shape})


def _origin(bench: Workbench, arch: Arch) -> Origin:
    digests = {name: table.digest() for name, table in bench.tables.items()}
    return Origin.of(bench.space, arch, bench.experiment.seed, digests)


def _metrics(rows: Any) -> list[Metric]:
    """Figures of a network; those of the latest stage stand for it."""
    found = {}
    for _, row in rows.iterrows():
        one = row.to_frame().T
        for name in numeric(one):
            value, source = row[name], row[f"{name}.source"]
            if isinstance(source, str) and np.isfinite(value):
                found[name] = Metric(name, float(value), source)
    return list(found.values())


def _in_patches(graph: Graph, patches: int, patch_layers: int | None) -> Graph:
    """The network in so many patches along each side, 1 for none.

    Raises:
        InputError: it can't be cut so.
    """
    if patches == 1:
        return replace(graph, patches=None)
    network = lowered(graph)
    depth = patch_layers or best_depth(network, patches)
    patched(network, depth, patches)  # or it says why not
    return replace(graph, patches=Patches(patches, network.calls[depth - 1].name))


def _latency(bench: Workbench, graph: Graph, target: str) -> dict[str, dict[str, Any]]:
    """The network measured once more, as the file has it, on each device that can run it here.

    Beside a network in 8 bits its float32 twin is measured, in turns, where there is one.
    """
    out = {}
    for name, device in bench.devices.items():
        suits = runs_on(device.kind, target)
        if device.runner is None or not suits or not measures(device.runner, dtype(target)):
            continue
        if device.kind in ("mcu", "npu"):
            twins = {"int8": graph}
        else:
            device = device.model_copy(update={"dtype": "float32"})
            twins = {"float32": graph}
            if dtype(target) == "int8":
                twins = {"int8": quantize_for_timing(fold_batchnorm(graph)), **twins}
        provenance = capture(create(device).runtime, device.threads)
        found = measure_networks(device, list(twins.values()), seed=bench.experiment.seed)
        figures = [
            {
                "dtype": kind,
                "value_ms": item.value_us / 1e3,
                "spread_ms": item.spread_us / 1e3,
                "runs": item.n,
                "source": item.source,
            }
            for kind, item in zip(twins, found, strict=True)
        ]
        out[name] = {**figures[0], "provenance": asdict(provenance)}
        if len(figures) > 1:
            out[name]["float32"] = figures[1]
    return out
