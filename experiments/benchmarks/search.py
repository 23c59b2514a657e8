"""Searches of published tables: the best accuracy after so many queries.

    python -m experiments.benchmarks.search --data DIR --space nasbench201 \
        --algorithms auto,local_search --tasks cifar100_test_ep200

Every algorithm searches each column of accuracies alone, from its own seeds 0, 1, ...; it asks for
five architectures at a time and is told their accuracy as it stands in the table, which is signal
and score in one (NAS-Bench-201 has no validation accuracy of full trainings). Each architecture
that is evaluated counts as a query, those of a start-up design included; nothing else is told. No
algorithm knows of the table's other columns.

`best` is the highest accuracy so far, `optimum_found` the share of seeds that reached the table's
highest, `relative_improvement` the best above the mean of the table in percent of that mean (Yang,
Esperança, Carlucci, "NAS evaluation is frustratingly hard", ICLR 2020). `queries_to_optimum` is the
query that reached the highest (one more than there were where none did), `within_95` as many as
95 % of the seeds needed. `low` and `high` are ends of the 95 % bootstrap interval of the mean. `p`
is of a one-sided Wilcoxon test that `ours` (auto) is better, or needed fewer queries, paired by
seed, adjusted over the algorithms by Holm's method.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table as Printed

from experiments.benchmarks.published_tables import SPACES, chosen, load_table
from nas.environment import environment
from nas.search import registry
from nas.search.comparison import better, figures
from nas.search.tabular import Table, replay
from search_spaces.errors import InputError

QUERIES = (25, 50, 100, 200, 300, 500)
OURS = "auto"
BASELINES = ("random", "local_search")
# Too slow for a hundred seeds.
SLOW = ("optuna",)
_BATCH = 5


def curve(
    table: Table, task: str, algorithm: str, seed: int, queries: int
) -> Float[np.ndarray, " q"]:
    """Best accuracy after each query; the last one stays where a search has no more to ask, or
    nothing more to find.
    """
    search = registry.create(algorithm, table.space, seed)

    def matrices(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return -columns[task][:, None], np.zeros((len(columns[task]), 0))

    highest = table.columns[task].max()

    def at_the_top(rows: np.ndarray) -> bool:
        return bool((table.columns[task][rows] == highest).any())

    rows = replay(table, search, matrices, queries, _BATCH, enough=at_the_top).rows
    best = np.maximum.accumulate(table.columns[task][rows])
    return np.concatenate([best, np.full(queries - len(best), best[-1])])


def rows_of(
    task: str, curves: Mapping[str, Float[np.ndarray, "s q"]], values: Float[np.ndarray, " n"]
) -> list[dict[str, Any]]:
    """Figures of every algorithm after every number of queries."""
    rows = []
    for n in (n for n in QUERIES if n <= min(c.shape[1] for c in curves.values())):
        best = {name: c[:, n - 1] for name, c in curves.items()}
        p = better(best[OURS], {k: v for k, v in best.items() if k != OURS}) if OURS in best else {}
        for name, reached in best.items():
            reported = {
                "best": reached,
                "optimum_found": (reached >= values.max() - 1e-9).astype(float),
                "relative_improvement": 100 * (reached - values.mean()) / values.mean(),
            }
            for metric, each in reported.items():
                rows.append(
                    {
                        "task": task,
                        "method": "ours" if name == OURS else name,
                        "baseline": name in BASELINES,
                        "n": n,
                        "metric": metric,
                        **figures(each),
                        **({"p": p[name]} if metric == "best" and name in p else {}),
                    }
                )
    return rows + _to_optimum(task, curves, float(values.max()))


def _to_optimum(
    task: str, curves: Mapping[str, Float[np.ndarray, "s q"]], highest: float
) -> list[dict[str, Any]]:
    """How many queries every search needed."""
    needed = {
        name: np.where(c[:, -1] >= highest - 1e-9, (c < highest - 1e-9).sum(1), c.shape[1]) + 1.0
        for name, c in curves.items()
    }
    others = {name: -each for name, each in needed.items() if name != OURS}
    p = better(-needed[OURS], others) if OURS in needed else {}
    return [
        {
            "task": task,
            "method": "ours" if name == OURS else name,
            "baseline": name in BASELINES,
            "n": curves[name].shape[1],
            "metric": "queries_to_optimum",
            **figures(each),
            "within_95": float(np.quantile(each, 0.95, method="higher")),
            **({"p": p[name]} if name in p else {}),
        }
        for name, each in needed.items()
    ]


def run(
    data: Path,
    space: str,
    algorithms: list[str],
    tasks: str | None,
    seeds: int,
    slow_seeds: int,
    queries: int,
    accuracy: Path | None = None,
) -> list[dict[str, Any]]:
    """All searches of all tasks, as rows of figures."""
    table = load_table(data, space, accuracy)
    rows = []
    for task in chosen(list(table.columns), tasks, "--tasks"):
        curves = {}
        for name in algorithms:
            began = time.process_time()
            n = min(seeds, slow_seeds) if name in SLOW else seeds
            curves[name] = np.stack([curve(table, task, name, s, queries) for s in range(n)])
            spent = (time.process_time() - began) / n
            print(f"{task} {name}: {spent:.2f} CPU s a search", file=sys.stderr, flush=True)
        rows += rows_of(task, curves, table.columns[task])
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    """A table a task: the best so far, and how often the optimum was found."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        steps = sorted({row["n"] for row in own if row["metric"] == "best"})
        printed = Printed(title=f"{task}: best (share at the optimum), p that ours is better")
        for column in ("method", "seeds", *map(str, steps), "queries to it, of 95 %"):
            printed.add_column(column, justify="left" if column == "method" else "right")
        for method in dict.fromkeys(row["method"] for row in own):
            told = {(r["n"], r["metric"]): r for r in own if r["method"] == method}
            (needed,) = (row for row in told.values() if row["metric"] == "queries_to_optimum")
            cells = [*(_cell(told, n) for n in steps), _needed(needed)]
            printed.add_row(method, str(told[steps[0], "best"]["seeds"]), *cells)
        console.print(printed)


def _cell(told: Mapping[tuple[int, str], Mapping[str, Any]], n: int) -> str:
    best, optimum = told[n, "best"], told[n, "optimum_found"]
    p = f" p={best['p']:.1g}" if "p" in best else ""
    return f"{best['mean']:.3f} ({optimum['mean']:.2f}){p}"


def _needed(row: Mapping[str, Any]) -> str:
    most = f"{row['within_95']:.0f}" if row["within_95"] <= row["n"] else f"> {row['n']}"
    p = f" p={row['p']:.1g}" if "p" in row else ""
    return f"{row['mean']:.1f}, {most}{p}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Searches of published tables.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmarks")
    parser.add_argument("--space", choices=SPACES, default=SPACES[0])
    parser.add_argument("--algorithms", default="auto,local_search,random", help="a,b or all")
    parser.add_argument("--tasks", "--columns", help="columns of accuracies; all by default")
    parser.add_argument("--accuracy", type=Path, help="another file of accuracies")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--slow-seeds", type=int, default=30, help=f"of {', '.join(SLOW)}")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        rows = run(
            arguments.data,
            arguments.space,
            chosen(registry.names(), arguments.algorithms, "--algorithms"),
            arguments.tasks,
            arguments.seeds,
            arguments.slow_seeds,
            arguments.queries,
            arguments.accuracy,
        )
    except InputError as error:
        parser.error("; ".join(error.problems))
    if arguments.json:
        print(json.dumps({"benchmark": "search", "rows": rows, "environment": environment()}))
    else:
        print_rows(rows)


if __name__ == "__main__":
    main()
