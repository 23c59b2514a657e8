"""How long predictors take to fit, and to estimate very many architectures.

    python -m experiments.benchmarks.predictor_speed --space mobilenet_v3 --n 1000000

Every predictor learns from 1,000 labels (`--labels`) of a space of ours, which are the logarithm of
the MACs and noise, reports, and then estimates mean and spread of `n` random architectures, in one
call. `ours` is `auto`. Rows: `fit_seconds`, `predict_seconds`, and `per_second` of the estimates,
each by the clock; `cpu_seconds` of the estimates is over all cores, and does not count what other
processes take of the machine. Medians over `--seeds` repetitions.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nas.environment import environment
from predictors import registry
from search_spaces import registry as spaces
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap

_METRICS = ("fit_seconds", "predict_seconds", "cpu_seconds", "per_second")
_BASELINES = ("ridge", "macs")


def measure(
    space_name: str, kind: str, labels: int, n: int, seeds: int
) -> Iterator[dict[str, Any]]:
    """Rows of one predictor."""
    space = spaces.create(space_name)
    blocks = BlockMap(space)
    found: dict[str, list[float]] = {metric: [] for metric in _METRICS}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        archs = space.sample(rng, labels)
        y = np.log(blocks.total(blocks.macs, archs)) + 0.1 * rng.standard_normal(labels)
        predictor = registry.create(
            kind, space, seed, macs=lambda archs: blocks.total(blocks.macs, archs)
        )
        fit_s, _ = _timed(lambda p=predictor, a=archs, y=y: p.fit(a, y))
        population = space.sample(rng, n)
        # What is made once, such as compiled programs, is made before.
        predictor.predict(population[:10_000])
        predict_s, cpu_s = _timed(lambda p=predictor, a=population: p.predict(a))
        for metric, value in zip(_METRICS, (fit_s, predict_s, cpu_s, n / predict_s), strict=True):
            found[metric].append(value)
    for metric, values in found.items():
        yield {
            "task": space_name,
            "method": "ours" if kind == "auto" else kind,
            "baseline": kind in _BASELINES,
            "n": labels if metric == "fit_seconds" else n,
            "metric": metric,
            "mean": float(np.median(values)),
            "std": float(np.std(values)),
            "seeds": seeds,
        }


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of all cores."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A line a space and predictor."""
    out = Table("space", "method", *_METRICS)
    lines: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        lines.setdefault((row["task"], row["method"]), []).append(f"{row['mean']:,.3g}")
    for key, cells in lines.items():
        out.add_row(*key, *cells)
    Console(width=100).print(out)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="mobilenet_v3,nasbench201")
    parser.add_argument("--types", default=",".join(registry.names()))
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        rows = [
            row
            for space in arguments.space.split(",")
            for kind in arguments.types.split(",")
            for row in measure(space, kind, arguments.labels, arguments.n, arguments.seeds)
        ]
    except InputError as error:
        parser.error(str(error))
    if arguments.json:
        report = {"benchmark": "predictor_speed", "rows": rows, "environment": environment()}
        print(json.dumps(report))
        return
    show(rows)


if __name__ == "__main__":
    main()
