"""How well accuracies are estimated from few labels, on published benchmarks.

    python -m experiments.benchmarks.accuracy_prediction --data DIR --space nasbench201 --n 32,78

Every folder of DIR whose layout is known is used (`accuracy_tables`), every column of accuracies is
a task. For each seed `n` architectures are drawn at random and labelled, and the estimates of all
others are judged: Kendall's tau, Spearman, RMSE in percentage points, share of labels inside the
90 % interval. Architectures that come again elsewhere in the table are not tested if they were
labelled. Nothing but the architectures and these labels is used.

`ours` is the predictor `auto`; `ours_chosen` the same on labels chosen by `predictors.design`,
which sees the architectures of the table but none of their labels. Baselines: ridge regression on
the masked one-hot, and a line in log MACs. `--types` adds other predictors, with parameters if
any: `auto,graph_transformer,graph_transformer:loss=pairwise`; `--tested 2000` tests on so many of
the others, drawn at random, where a predictor is slow.

Where a folder holds several search runs, `TASK/FILE` learns from all labels of the other runs and
is tested on the architectures of this one that the others don't have; `n` is then their number, and
the only randomness is that of the predictor, so there are three seeds at most.
"""

import argparse
import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.accuracy_tables import Labelled, load_tables
from predictors import registry
from predictors.cross_validation import BASELINES, unseen
from predictors.design import spread_labels
from predictors.labels import group
from predictors.report import Scores, score
from search_spaces.errors import InputError
from search_spaces.named import hint

_METRICS = ("kendall", "spearman", "rmse", "coverage_90")
_SIZES = (32, 78, 100, 156, 200, 469)
Rows = Int[np.ndarray, "..."]


def evaluate(
    table: Labelled, y: Float64[np.ndarray, " n"], train: Rows, test: Rows, method: str, seed: int
) -> Scores:
    """Scores of a method that sees the labels of some rows, on others."""
    kind, parameters = predictor_of(method)
    rows = np.concatenate([train, test])
    macs = dict(zip(map(bytes, table.archs[rows]), table.macs[rows], strict=True))
    predictor = registry.create(
        kind,
        table.space,
        seed,
        macs=lambda archs: np.array([macs[bytes(a)] for a in archs]),
        **parameters,
    )
    return score(y[test], *unseen(predictor, table.archs, y, train, test))


def predictor_of(method: str) -> tuple[str, dict[str, Any]]:
    """Type and parameters of a method: `ours`, or `TYPE:KEY=VALUE:…`."""
    kind, *given = method.split(":")
    pairs = (item.partition("=") for item in given)
    parameters = {key: {"true": True, "false": False}.get(text, text) for key, _, text in pairs}
    return ("auto" if kind in ("ours", "ours_chosen") else kind), parameters


def splits(
    table: Labelled, sizes: Sequence[int], seeds: int, methods: Sequence[str]
) -> Iterator[tuple[str, str, int, Rows]]:
    """Suffix of the task, method, seed, and the rows to label."""
    n = len(table.archs)
    for size in (size for size in sizes if size < n):
        for seed in range(seeds):
            drawn = np.random.default_rng(seed).permutation(n)[:size]
            for method in methods:
                yield "", method, seed, drawn
            if "ours" in methods:
                chosen = spread_labels(table.space, table.archs, size, seed)
                yield "", "ours_chosen", seed, chosen
    for run, name in enumerate(table.files if len(table.files) > 1 else ()):
        others = np.flatnonzero(table.runs != run)
        for seed in range(min(seeds, 3)):
            for method in methods:
                yield f"/{name}", method, seed, others


def measure(
    table: Labelled,
    task: str,
    sizes: Sequence[int],
    seeds: int,
    types: Sequence[str] = ("auto",),
    most_tested: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of the report for one task, as they are done."""
    y = table.labels[task]
    known = np.flatnonzero(np.isfinite(y))
    table, y = _rows(table, known), y[known]
    networks = group(table.space.onehot(table.archs))
    scores: dict[tuple[str, str, int], list[Scores]] = {}
    methods = [*("ours" if kind == "auto" else kind for kind in types), *BASELINES]
    for suffix, method, seed, train in splits(table, sizes, seeds, methods):
        test = np.flatnonzero(~np.isin(networks, networks[train]))
        test = np.random.default_rng(seed).permutation(test)[:most_tested]
        key = (suffix, method, len(train))
        scores.setdefault(key, []).append(evaluate(table, y, train, test, method, seed))
    for (suffix, method, n), found in scores.items():
        for metric in _METRICS:
            values = np.array([getattr(s, metric) for s in found])
            yield {
                "task": f"{table.name}/{task}{suffix}",
                "method": method,
                "baseline": method in BASELINES,
                "n": n,
                "metric": metric,
                "mean": float(values.mean()),
                "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                "seeds": len(values),
            }


def _rows(table: Labelled, rows: Rows) -> Labelled:
    return Labelled(
        table.name,
        table.space,
        table.archs[rows],
        {name: values[rows] for name, values in table.labels.items()},
        table.macs[rows],
        table.runs[rows],
        table.files,
    )


def selected(
    tables: Sequence[Labelled], spaces: str | None, tasks: str | None
) -> list[tuple[Labelled, str]]:
    """The tables and tasks asked for, all where nothing is.

    Raises:
        InputError: a name that is not there.
    """
    by_name = {table.name: table for table in tables}
    wanted = spaces.split(",") if spaces else list(by_name)
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise InputError(f"--space: no {missing[0]!r}; {hint(missing[0], by_name)}")
    there = [(by_name[name], task) for name in wanted for task in by_name[name].labels]
    known = sorted({task for _, task in there})
    names = tasks.split(",") if tasks else known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"--tasks: no {unknown[0]!r}; {hint(unknown[0], known)}")
    return [(table, task) for table, task in there if task in names]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A line for each task, number of labels and method."""
    out = Table("task", "n", "method", *_METRICS)
    lines: dict[tuple, dict[str, str]] = {}
    for row in rows:
        key = (row["task"], row["n"], row["method"])
        lines.setdefault(key, {})[row["metric"]] = f"{row['mean']:.3f} ±{row['std']:.3f}"
    for (task, n, method), cells in sorted(lines.items()):
        out.add_row(task, str(n), method, *(cells[metric] for metric in _METRICS))
    Console(width=140).print(out)


def main() -> None:
    """Parse the arguments, fit, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables' folders")
    parser.add_argument("--space", help="folders to use, separated by commas (default: all)")
    parser.add_argument("--tasks", "--columns", help="columns of accuracies (default: all)")
    sizes = ",".join(map(str, _SIZES))
    parser.add_argument("--n", "--samples", default=sizes, help="labels (default: %(default)s)")
    parser.add_argument("--types", default="auto", help="predictors (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tested", type=int, help="others to test on (default: all of them)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        chosen = selected(load_tables(arguments.data), arguments.space, arguments.tasks)
        counts = [int(n) for n in arguments.n.split(",")]
        types = arguments.types.split(",")
        rows = [
            row
            for table, task in chosen
            for row in measure(table, task, counts, arguments.seeds, types, arguments.tested)
        ]
    except (InputError, ValueError) as error:
        parser.error(str(error))
    if arguments.json:
        environment = {"python": platform.python_version(), "machine": platform.machine()}
        report = {"benchmark": "accuracy_prediction", "rows": rows, "environment": environment}
        print(json.dumps(report))
        return
    show(rows)


if __name__ == "__main__":
    main()
