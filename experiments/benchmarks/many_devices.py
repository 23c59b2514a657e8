"""A run for several devices with a bound on each, against the same run for one of them.

    python -m experiments.benchmarks.many_devices --devices 3 --repeats 3

A small run on scikit-learn's digits, from training to the report, on devices made up here: their
tables are computed from the blocks' MACs and parameters, so nothing is profiled or measured. Each
device has a bound that half of a random sample meets. `bounds` searches for accuracy and the first
device's latency, `objectives` for the latency on every device as well. After one run that fills the
compilation cache, runs for one and for several devices take turns; `ratio` is the median of several
devices' times over that of one's, in seconds and in CPU seconds (`ratio_cpu`), for the search stage
(random search beside it included) and for the whole run.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hw_profiles.device import load_device
from hw_profiles.profilers.base import Measurement
from hw_profiles.table import LatencyTable, settings_of
from hw_profiles.worklist import worklist
from nas.config import load, to_yaml
from nas.config.schema import SpaceConfig
from nas.controller import STAGES, Controller
from nas.environment import environment
from nas.log import Log
from nas.store import RunStore
from nas.workbench import Workbench
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count

SPACE = {
    "type": "mobilenet_v3",
    "resolution": [8],
    "channels": 1,
    "classes": 10,
    "stem": 8,
    "stem_stride": 2,
    "widths": [8, 16, 24],
    "strides": [1, 2, 1],
    "hswish": [False, True, True],
    "squeeze_excite": [False, True, False],
    "depth": [1, 2],
    "kernel": [3, 5],
    "expand": [2, 3],
    "head": [16, 24],
}
_EXPERIMENT = """
name: many
space: {space}
data: {{type: digits}}
supernet: {{epochs: 2, batch: 256}}
predictors: {{accuracy: {{type: ridge, samples: 40}}}}
devices: {devices}
objectives: {objectives}
constraints: {constraints}
search: {{population: 96, evaluations: {evaluations}}}
evaluation: {{calibration_images: 256}}
verify: {{top: 4}}
export: {{top: 0}}
"""


def make_devices(folder: Path, n: int) -> dict[str, float]:
    """Devices with complete tables, and a bound on the latency of each in ms."""
    space = SpaceConfig.model_validate(SPACE).create()
    blocks = BlockMap(space)
    archs = space.sample(np.random.default_rng(0), 200)
    bounds = {}
    for number in range(n):
        device = folder / f"board{number}"
        device.mkdir()
        (device / "device.yaml").write_text(f"id: board{number}\nkind: cpu\nrunner: null\n")
        spec = load_device(device)
        units = {}
        for unit in worklist(blocks, spec):
            counted = count(unit.graph)
            value_us = 1.0 + counted.macs / 1e3 + number * counted.params / 1e2
            units[unit.key] = Measurement(unit.key, value_us, 0.1, 100)
        table = replace(LatencyTable(spec.id, settings_of(spec)), units=units)
        table.save(device / "table.json")
        bounds[str(device)] = float(np.median(table.bind(space, blocks).cost(archs).mean_ms))
    return bounds


def write_experiment(
    path: Path, bounds: dict[str, float], kind: str, n: int, evaluations: int
) -> None:
    """The run for the first `n` devices."""
    chosen = dict(list(bounds.items())[:n])
    latencies = [{"metric": "latency_ms", "device": name} for name in chosen]
    text = _EXPERIMENT.format(
        space=json.dumps(SPACE),
        devices=json.dumps(list(chosen)),
        objectives=json.dumps(
            [{"metric": "accuracy"}, *(latencies if kind == "objectives" else latencies[:1])]
        ),
        constraints=json.dumps(
            [{**latency, "max": bounds[latency["device"]]} for latency in latencies]
        ),
        evaluations=evaluations,
    )
    path.write_text(text)


def timed(file: Path, folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of the search stage and of the whole run."""
    experiment = load(file)
    took = {}
    store = RunStore.create(folder, file.read_text(), to_yaml(experiment), {})
    with store, Log(store.log_path) as log:
        controller = Controller(Workbench(experiment, folder), store, log, 0)
        for stage in STAGES:
            began = time.perf_counter(), time.process_time()
            controller.stage(stage)
            took[stage] = (time.perf_counter() - began[0], time.process_time() - began[1])
    whole = tuple(map(sum, zip(*took.values(), strict=True)))
    return {"search stage": took["search"], "whole run": (whole[0], whole[1])}


def compare(work: Path, n: int, repeats: int, evaluations: int) -> list[dict[str, Any]]:
    """Runs in turns, as rows of ratios."""
    bounds = make_devices(work, n)
    rows = []
    for kind in ("bounds", "objectives"):
        files = {k: work / f"{kind}{k}.yaml" for k in (1, n)}
        for k, file in files.items():
            write_experiment(file, bounds, kind, k, evaluations)
        timed(files[n], work / f"warm_{kind}")
        times: dict[int, list[dict[str, tuple[float, float]]]] = {k: [] for k in files}
        for repeat in range(repeats):
            for k, file in files.items():
                times[k].append(timed(file, work / f"{kind}{k}_{repeat}"))
                print(f"{kind}, {k} devices: {times[k][-1]}", file=sys.stderr, flush=True)
        for part in ("search stage", "whole run"):
            for clock, metric in enumerate(("ratio", "ratio_cpu")):
                one, several = (np.array([t[part][clock] for t in times[k]]) for k in (1, n))
                rows.append(
                    {
                        "task": f"{kind}, {part}",
                        "method": "ours",
                        "baseline": False,
                        "n": n,
                        "metric": metric,
                        "mean": float(np.median(several) / np.median(one)),
                        "std": float((several / one).std()),
                        "seeds": repeats,
                        "seconds_one": float(np.median(one)),
                        "seconds_several": float(np.median(several)),
                    }
                )
    return rows


def main() -> None:
    """Command line."""
    import jax

    parser = argparse.ArgumentParser(description="Time of runs for several devices.")
    parser.add_argument("--devices", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=5000, help="of the search")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        jax.config.update("jax_compilation_cache_dir", f"{work}/xla")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        rows = compare(Path(work), arguments.devices, arguments.repeats, arguments.evaluations)
    if arguments.json:
        told = {"benchmark": "many_devices", "rows": rows, "environment": environment()}
        print(json.dumps(told))
        return
    for row in rows:
        print(
            f"{row['task']:28}{row['metric']:10}{row['mean']:6.2f} +-{row['std']:.2f}"
            f"{row['seconds_one']:9.2f} s{row['seconds_several']:9.2f} s"
        )


if __name__ == "__main__":
    main()
