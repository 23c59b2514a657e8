"""The most accurate network under a latency bound on a device that nobody has profiled.

    python -m experiments.benchmarks.constrained_search --data DIR --task cifar100_test_ep200

Each device in turn is new; other devices' latencies are known, without those of the same card or
board (`latency_data`). Bounds are quantiles of the device's true latencies, or `--bounds` in
milliseconds. A search may measure ten networks on the device and evaluate the accuracy of a
hundred; what it returns is one network. `violations` is the share of searches whose network is
truly slower than the bound, `regret` how far its accuracy lies below the best of all networks that
are truly within it, in percentage points (0 where a network that is too slow is better than that).

`ours` measures four networks that `Transfer.choose` chooses, and searches with `auto`. For each
batch it draws a probability, and only networks may be proposed that hold the bound with as much: a
sample of where the bound lies among the estimates, whose errors go together. After each fifth of
the search, and once more in the end, one of the evaluated networks is measured, the one of largest
expected gain: the probability of holding the bound times the accuracy above the best that is known
to hold it. The estimates follow. The best is returned that was measured below the bound, or holds
it with a probability of .99. `ours_unmeasured` spends all ten on the transfer and returns the best
of those that hold the bound with .9. Baselines: `random` is `ours` with random networks in the
place of `auto`; `ridge` and `macs` search with `auto` as well, with a ridge regression on the
sources' log latencies or with MACs at the rate of ten random networks, and take these as the truth.
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
from nas.search.base import SearchAlgorithm
from nas.search.tabular import Table, replay
from predictors.ridge_regression import fit_ridge
from search_spaces.errors import InputError

METHODS = ("ours", "ours_unmeasured", "ridge", "random", "macs")
_BASELINES = ("ridge", "random", "macs")
_MEASURED_LAST = 6
# Probabilities of holding the bound from which on a network may be returned unmeasured.
_LIKELY, _SURE = 0.9, 0.99
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

    def search(
        self, algorithm: SearchAlgorithm, allowed: Bool[np.ndarray, " n"], queries: int
    ) -> Rows:
        """Networks that were evaluated, all of them allowed; the algorithm goes on from what it was
        told.
        """
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

        return rows[replay(part, algorithm, matrices, queries, _BATCH).rows]

    def best(self, rows: Rows) -> int | None:
        """The most accurate; None where there are none."""
        return int(rows[np.argmax(self.accuracy[rows])]) if len(rows) else None

    def outcome(self, row: int | None) -> tuple[float, float]:
        """Whether the returned network breaks the bound, and its regret."""
        within = self.case.latency_ms <= self.bound_ms
        best = self.accuracy[within].max()
        if row is None:
            return 0.0, float(best - self.accuracy[within].min())
        regret = max(0.0, float(best - self.accuracy[row]))
        return float(not within[row]), regret


@dataclass
class Measured:
    """What is known of the device's latencies.

    Args:
        problem: the device and the bound.
        rows: networks that were measured.
    """

    problem: Problem
    rows: Rows

    def holds(self) -> Float[np.ndarray, " n"]:
        """Probability that each network holds the bound; 0 or 1 where it was measured."""
        case, bound_ms = self.problem.case, self.problem.bound_ms
        truth = case.latency_ms
        found = case.transfer.fit(self.rows, truth[self.rows]).predict(np.arange(len(truth)))
        probability = norm.cdf((bound_ms - found.mean) / found.std)
        probability[self.rows] = truth[self.rows] <= bound_ms
        return probability

    def measure_best(self, found: Rows, holds: Float[np.ndarray, " n"]) -> bool:
        """Measure the evaluated network of largest expected gain; False where none can gain."""
        if not len(found):
            return False
        accuracy = self.problem.accuracy[found]
        least = accuracy[holds[found] >= _SURE].max(initial=accuracy.min())
        gain = holds[found] * np.maximum(accuracy - least, 0.0)
        if not gain.any():
            return False
        self.rows = np.append(self.rows, found[np.argmax(gain)])
        return True


def ours(problem: Problem, algorithm: str, seed: int, last: int) -> int | None:
    """The network that is returned; `last` of the measurements are of networks that were found."""
    transfer, rng = problem.case.transfer, np.random.default_rng(seed)
    first = transfer.choose(problem.latencies - last, problem.case.known, seed)
    measured, found = Measured(problem, first), np.zeros(0, np.int64)
    search = registry.create(algorithm, problem.table.space, seed)
    holds = measured.holds()
    starts = np.arange(0, problem.queries, _BATCH)
    for part in np.array_split(starts, max(last - 1, 1)):
        for start in part:
            allowed = holds >= rng.uniform(0.0, holds.max())
            batch = problem.search(search, allowed, min(_BATCH, problem.queries - int(start)))
            found = np.append(found, batch)
        if last and measured.measure_best(found, holds):
            holds = measured.holds()
    while len(measured.rows) < problem.latencies and measured.measure_best(found, holds):
        holds = measured.holds()
    return problem.best(found[holds[found] >= (_SURE if last else _LIKELY)])


def taken_as_true(problem: Problem, latency_ms: Float[np.ndarray, " n"], seed: int) -> int | None:
    """The best network that `auto` finds by someone's latencies."""
    search = registry.create("auto", problem.table.space, seed)
    return problem.best(problem.search(search, latency_ms <= problem.bound_ms, problem.queries))


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
