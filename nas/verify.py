"""The front for real: accuracy on the test set, latency end to end, beside what was estimated."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hw_profiles.profile import measure_networks
from nas.log import Log
from nas.objectives import to_F, to_G
from nas.pareto import nondominated
from nas.results.run import numeric
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
    validation = bench.evaluator.evaluate(archs)["accuracy"]
    test = bench.evaluator.accuracies(archs, bench.data.load_test())
    columns = {"accuracy": validation, "test_accuracy": test, **bench.costs.evaluate(archs)}
    sources = {"accuracy": "measured", "test_accuracy": "measured", **bench.costs.sources()}
    intervals = bench.costs.intervals(archs)
    graphs = [bench.space.build(arch) for arch in archs]
    for name, device in bench.devices.items():
        if device.runner is None:
            log(f"verify: {name} is never measured: its latency stays an estimate")
            continue

        def watch(done: int, total: int, eta_s: float, label: str, name: str = name) -> None:
            log.progress(f"verify on {name}", done, total, f"{eta_s:.0f} s left, {label}")

        found = measure_networks(device, graphs, seed=bench.experiment.seed, progress=watch)
        value = np.array([item.value_us / 1e3 for item in found])
        half = _Z90 * np.array([item.spread_us / 1e3 for item in found])
        column = f"latency_ms@{name}"
        columns[column], sources[column] = value, found[0].source
        intervals[column] = (value - half, value + half)
    store.append(Batch(_STAGE, archs, columns, sources, intervals))


def verified_front(bench: Workbench, store: RunStore) -> "DataFrame":
    """Those verified networks that meet the constraints and that no other one beats, as measured.

    Returns:
        by trial id: `arch`, `choices`, then for each metric the verified number and, as
        `<metric>.predicted`, what the search had estimated.
    """
    import pandas as pd

    table = store.trials(_STAGE)
    estimated = store.trials("search").reindex(table.index)
    numbers = numeric(table)
    rows = (to_G(numbers, bench.experiment.constraints) <= 0).all(1)
    F = to_F(numbers, bench.experiment.objectives)
    chosen = np.flatnonzero(rows)[nondominated(F[rows])]
    out: dict[str, Any] = {
        "arch": [table["arch"].iloc[i] for i in chosen],
        "choices": [_choices(bench, table["arch"].iloc[i]) for i in chosen],
    }
    for name, values in numbers.items():
        out[name] = values[chosen]
        if name in estimated and table[f"{name}.source"].iloc[0] == "measured":
            out[f"{name}.predicted"] = estimated[name].to_numpy()[chosen]
    return pd.DataFrame(out, index=table.index[chosen])


def agreement(store: RunStore) -> Mapping[str, Mapping[str, float]]:
    """For each metric that was estimated and measured: how well the two agree on the front."""
    table = store.trials(_STAGE)
    estimated = store.trials("search").reindex(table.index)
    out = {}
    for name, measured in numeric(table).items():
        if name in estimated and table[f"{name}.source"].iloc[0] == "measured":
            guess = estimated[name].to_numpy()
            out[name] = {
                "mean_absolute_error": float(np.mean(np.abs(guess - measured))),
                "mean_relative_error": float(np.mean(np.abs(guess / measured - 1))),
            }
    return out


def _choices(bench: Workbench, arch: tuple[int, ...]) -> dict[str, Any]:
    return json.loads(json.dumps(bench.space.decode(np.array(arch))))
