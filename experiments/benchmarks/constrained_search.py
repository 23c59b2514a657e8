"""The most accurate network under a latency bound on a device that nobody has profiled.

    python -m experiments.benchmarks.constrained_search --data DIR --task cifar100_test_ep200

Each device in turn is new; other devices' latencies are known, without those of the same card or
board (`latency_data`). Bounds are quantiles of the device's true latencies, or `--bounds` in
milliseconds. A search may measure ten networks on the device and evaluate the accuracy of a
hundred; what it returns is one network. `violations` is the share of searches whose network is
truly slower than the bound, `regret` how far its accuracy lies below the best of all networks that
are truly within it, in percentage points (0 where a network that is too slow is better than that).

`ours` measures seven networks that `Transfer.choose` chooses, and searches with `auto` among those
whose latency is below the bound with a probability of .9. The best of them are measured, three at
most, each measurement is learned from, and the first that holds the bound is returned; after three
failures the best of those that hold it with .99. `ours_unmeasured` spends all ten on the transfer
and returns its best as it is. Baselines: `random` has the latencies of `ours` and evaluates random
networks; `ridge` and `macs` search with `auto` as well, with a ridge regression on the sources' log
latencies or with MACs at the rate of ten random networks, and take these as the truth.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from rich.console import Console
from rich.table import Table as Printed
from scipy.stats import norm

from experiments.benchmarks.latency_data import LatencyData, read
from experiments.benchmarks.latency_transfer import Case
from experiments.benchmarks.published_tables import chosen, load_table
from nas.environment import environment
from nas.search import registry
from nas.search.tabular import Table, replay
from predictors.ridge_regression import fit_ridge
from search_spaces.errors import InputError

METHODS = ("ours", "ours_unmeasured", "ridge", "random", "macs")
_BASELINES = ("ridge", "random", "macs")
_MEASURED_LAST = 3
_LIKELY, _SURE = norm.ppf([0.9, 0.99])
_BATCH = 5

Rows = Int[np.ndarray, " r"]


@dataclass(frozen=True)
class Problem:
    """A device and a bound.

    Args:
        case: the device, and the devices that are known.
        table: architectures and accuracies, row by row those of the case.
        accuracy: of the task, percent.
        bound_ms: what the network's latency may be.
        latencies: how many networks may be measured.
        queries: how many accuracies may be evaluated.
    """

    case: Case
    table: Table
    accuracy: Float[np.ndarray, " n"]
    bound_ms: float
    latencies: int
    queries: int

    def search(self, algorithm: str, seed: int, allowed: Bool[np.ndarray, " n"]) -> Rows:
        """Networks that were evaluated, all of them allowed, the most accurate first."""
        rows = np.flatnonzero(allowed)
        if not len(rows):
            return rows
        part = Table(
            self.table.space,
            self.table.archs[rows],
            {"accuracy": self.accuracy[rows]},
            np.ones(len(rows)),
        )

        def matrices(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            return -columns["accuracy"][:, None], np.zeros((len(columns["accuracy"]), 0))

        search = registry.create(algorithm, self.table.space, seed)
        found = rows[replay(part, search, matrices, self.queries, _BATCH).rows]
        return found[np.argsort(-self.accuracy[found], kind="stable")]

    def outcome(self, row: int | None) -> tuple[float, float]:
        """Whether the returned network breaks the bound, and its regret."""
        within = self.case.latency_ms <= self.bound_ms
        best = self.accuracy[within].max()
        if row is None:
            return 0.0, float(best - self.accuracy[within].min())
        regret = max(0.0, float(best - self.accuracy[row]))
        return float(not within[row]), regret


def ours(problem: Problem, algorithm: str, seed: int, last: int) -> int | None:
    """The network that is returned; `last` of the measurements check the best."""
    transfer, truth = problem.case.transfer, problem.case.latency_ms
    measured = transfer.choose(problem.latencies - last, problem.case.known, seed)

    def holds(probable: float) -> Bool[np.ndarray, " n"]:
        found = transfer.fit(measured, truth[measured]).predict(np.arange(len(truth)))
        likely = found.mean + probable * found.std <= problem.bound_ms
        likely[measured] = truth[measured] <= problem.bound_ms
        return likely

    found = problem.search(algorithm, seed, holds(_LIKELY))
    for _ in range(last):
        likely = holds(_LIKELY)
        left = [row for row in found if likely[row]]
        if not left or left[0] in measured:
            break
        measured = np.append(measured, left[0])
    sure = holds(_SURE if last else _LIKELY)
    checked = set(measured.tolist()) if last else set()
    fits = [r for r in found if (r in checked and truth[r] <= problem.bound_ms) or sure[r]]
    return int(fits[0]) if fits else None


def taken_as_true(problem: Problem, latency_ms: Float[np.ndarray, " n"], seed: int) -> int | None:
    """The best network that `auto` finds by someone's latencies."""
    found = problem.search("auto", seed, latency_ms <= problem.bound_ms)
    return int(found[0]) if len(found) else None


def methods(problem: Problem, seed: int) -> Iterator[tuple[str, Callable[[], int | None]]]:
    """What is compared."""
    case, y = problem.case, problem.case.latency_ms
    drawn = np.random.default_rng(seed).choice(case.known, problem.latencies, replace=False)
    yield "ours", lambda: ours(problem, "auto", seed, _MEASURED_LAST)
    yield "ours_unmeasured", lambda: ours(problem, "auto", seed, 0)
    yield "random", lambda: ours(problem, "random", seed, _MEASURED_LAST)
    if case.sources:
        x = case.source_features
        ridge = np.exp(fit_ridge(x[drawn], np.log(y[drawn])).mean(x))
        yield "ridge", lambda: taken_as_true(problem, ridge, seed)
    if case.data.readings[0].statistics.shape[1]:
        macs = case.data.readings[0].statistics[:, 0]
        rate = float(np.median(y[drawn] / macs[drawn]))
        yield "macs", lambda: taken_as_true(problem, rate * macs, seed)


def run(problems: Mapping[tuple[str, str], Problem], seeds: int) -> list[dict[str, Any]]:
    """Rows of every device, bound and method, and of all devices together."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for number, ((device, bound), problem) in enumerate(problems.items()):
        print(f"{number + 1}/{len(problems)} {device} {bound}", file=sys.stderr, flush=True)
        for seed in range(seeds):
            for name, search in methods(problem, seed):
                outcome = problem.outcome(search())
                for task in (f"{device} {bound}", "all"):
                    found.setdefault((task, name, bound), []).append(outcome)
    first = next(iter(problems.values()))
    rows = []
    for (task, name, bound), outcomes in found.items():
        label = task if task != "all" else f"all {bound}"
        for metric, values in zip(("violations", "regret"), np.array(outcomes).T, strict=True):
            rows.append(
                {
                    "task": label,
                    "method": name,
                    "baseline": name in _BASELINES,
                    "n": first.queries,
                    "metric": metric,
                    "mean": round(float(values.mean()), 4),
                    "std": round(float(values.std()), 4),
                    "seeds": len(values),
                }
            )
    return rows


def load(arguments: argparse.Namespace) -> dict[tuple[str, str], Problem]:
    """The problems that were asked for, by device and bound."""
    table = load_table(arguments.data, arguments.space)
    (task,) = chosen(list(table.columns), arguments.task, "--task")
    data: LatencyData = read(arguments.data / arguments.space, tuple(arguments.latency or ()))
    devices = list(data.latency_ms)
    if len(table.archs) != len(data.latency_ms):
        raise InputError(
            f"{arguments.data / arguments.space}: {len(table.archs)} networks with an accuracy, "
            f"{len(data.latency_ms)} in the table of latencies: they must be the same"
        )
    problems = {}
    for device in chosen(devices, arguments.devices, "--devices"):
        known = tuple(d for d in devices if data.family(d) != data.family(device))
        case = Case(data, device, known)
        # NaN <= bound is false: what was not measured is no answer.
        bounds = (
            {f"{b:g} ms": b for b in arguments.bounds}
            if arguments.bounds
            else {
                f"{q:.0%} quantile": float(np.nanquantile(case.latency_ms, q))
                for q in arguments.quantiles
            }
        )
        for name, bound in bounds.items():
            problems[device, name] = Problem(
                case, table, table.columns[task], bound, arguments.latencies, arguments.queries
            )
    return problems


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A row a device and bound: violations and regret of each method."""
    names = [name for name in METHODS if name in {row["method"] for row in rows}]
    printed = Printed("violations, regret in pp", *names)
    cells = {(r["task"], r["method"], r["metric"]): r["mean"] for r in rows}
    for task in dict.fromkeys(row["task"] for row in rows):
        printed.add_row(
            task,
            *(f"{cells[task, n, 'violations']:.0%}, {cells[task, n, 'regret']:.3f}" for n in names),
        )
    Console(width=None if sys.stdout.isatty() else 130).print(printed)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.constrained_search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmarks")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--task", "--column", default="cifar100_test_ep200")
    parser.add_argument("--devices", "--targets", help="(default: all)")
    parser.add_argument("--latency", type=Path, action="append", help="instead of the space's file")
    parser.add_argument("--quantiles", type=_numbers, default=[0.25, 0.5, 0.75])
    parser.add_argument("--bounds", type=_numbers, help="in milliseconds, instead of quantiles")
    parser.add_argument("--latencies", type=int, default=10)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        rows = run(load(arguments), arguments.seeds)
    except InputError as error:
        parser.error("; ".join(error.problems))
    if arguments.json:
        report = {"benchmark": "constrained_search", "rows": rows, "environment": environment()}
        print(json.dumps(report))
    else:
        show(rows)


if __name__ == "__main__":
    main()
