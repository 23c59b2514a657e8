"""Latency on an unseen device after a few measurements, on published tables.

    python -m experiments.benchmarks.latency_transfer --data DIR --samples 10,20 --seeds 10

Each device in turn is the new one. Sources are the other devices given, without those of the same
card or board: columns that differ only in what follows the last underscore (batch size). Of the new
device N networks are measured, none of them in HELP's query set (Lee et al., NeurIPS 2021: numbers
900 to 1,899 of NAS-Bench-201, 4,000 to 4,999 of FBNet and OFA). Figures: Spearman's correlation on
the query set without its fastest and slowest 10 % (`spearman_trimmed`), and on all networks that
were not measured `spearman`, `within_10pct` and, where a method has intervals, `coverage_90`.

`ours` chooses its N networks from all others (of 2,000 drawn anew for each seed) and is what
`nas profile --few` uses; `ours_random` has the random networks of the baselines;
`ours_without_sources` knows the architectures only. Baselines: ridge regression on the sources' log
latencies (`ridge`; `ridge_reference` where N is the number of HELP's reference networks, on these),
on the one-hot choices (`ridge_onehot`), on counts of options and MACs (`ridge_counts`), the sum of
each option's share of latency (`layerwise`), each with a penalty of 1 or the one of least
leave-one-out error, whichever is better on the queries; `macs` at the rate of the measured
networks. With `--sources none` the method `ours` has no sources. The difference between `ours` and
`ridge` is tested over pairs of device and seed (Wilcoxon's signed rank test); means over devices
stand under `all`.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from experiments.benchmarks.latency_data import LatencyData, read, spaces
from nas.journal import Journal
from predictors import metrics
from predictors.base import Prediction
from predictors.ridge_regression import fit_ridge
from predictors.transfer import Transfer
from search_spaces.errors import InputError

_METRICS = ("spearman_trimmed", "spearman", "within_10pct", "coverage_90")
_BASELINES = ("ridge", "ridge_reference", "ridge_onehot", "ridge_counts", "layerwise", "macs")
Rows = Int[np.ndarray, " _"]
Estimate = tuple[Rows, Callable[[Rows], Prediction | Float[np.ndarray, " _"]]]


@dataclass(frozen=True)
class Case:
    """A new device.

    Args:
        data: the space.
        device: its column.
        sources: the columns that are known.
    """

    data: LatencyData
    device: str
    sources: tuple[str, ...]

    @cached_property
    def latency_ms(self) -> Float[np.ndarray, " n"]:
        """Of every network; NaN where there is no measurement."""
        return self.data.latency_ms[self.device].to_numpy(np.float64)

    @cached_property
    def known(self) -> Rows:
        """Networks with a latency."""
        return np.flatnonzero(np.isfinite(self.latency_ms))

    @cached_property
    def candidates(self) -> Rows:
        """Networks that may be measured."""
        return np.setdiff1d(self.known, self.data.query)

    @cached_property
    def trimmed(self) -> Rows:
        """The query set without its fastest and slowest tenth."""
        query = np.intersect1d(self.data.query, self.known)
        order = query[np.argsort(self.latency_ms[query], kind="stable")]
        return order[len(order) // 10 : len(order) - len(order) // 10]

    @cached_property
    def transfer(self) -> Transfer:
        """Ours, with the sources."""
        columns = [self.data.smoothed_ms(name) for name in self.sources]
        return Transfer(
            self.data.readings,
            np.stack(columns, 1) if columns else np.zeros((len(self.latency_ms), 0)),
        )

    @cached_property
    def alone(self) -> Transfer:
        """Ours, with the architectures only."""
        return Transfer(self.data.readings, np.zeros((len(self.latency_ms), 0)))

    @cached_property
    def source_features(self) -> Float[np.ndarray, "n s"]:
        """Standardised log latencies as they were measured; the mean where one is missing."""
        log = np.log(self.data.latency_ms[list(self.sources)].to_numpy(np.float64))
        x = (log - np.nanmean(log, 0)[None, :]) / np.nanstd(log, 0)[None, :]
        return np.nan_to_num(x)


def estimates(case: Case, n: int, seed: int) -> Iterator[tuple[str, Estimate]]:
    """Every method's measured networks and its estimates."""
    y = case.latency_ms
    drawn = np.random.default_rng(seed).choice(case.candidates, n, replace=False)
    onehot = case.data.readings[0].onehot.astype(np.float64)

    def ours(transfer: Transfer, rows: Rows) -> Estimate:
        return rows, transfer.fit(rows, y[rows]).predict

    yield "ours", ours(case.transfer, case.transfer.choose(n, case.candidates, seed))
    yield "ours_random", ours(case.transfer, drawn)
    if case.sources:
        rows = case.alone.choose(n, case.candidates, seed)
        yield "ours_without_sources", ours(case.alone, rows)
        x = case.source_features
        yield "ridge", (drawn, _ridge(case, x, np.log, np.exp, drawn))
        reference = np.intersect1d(case.data.reference, case.known)
        if len(reference) == n:
            yield "ridge_reference", (reference, _ridge(case, x, np.log, np.exp, reference))
    yield "ridge_onehot", (drawn, _ridge(case, onehot, np.log, np.exp, drawn))
    counts = case.data.readings[0].counted(log=True)
    counts = counts * np.sqrt(counts.shape[1])
    yield "ridge_counts", (drawn, _ridge(case, counts, np.log, np.exp, drawn))
    yield "layerwise", (drawn, _ridge(case, onehot, np.asarray, np.asarray, drawn))
    if case.data.readings[0].statistics.shape[1]:
        macs = case.data.readings[0].statistics[:, 0]
        # One number, so that it is in milliseconds: the measured networks' mean rate.
        rate = float(np.median(y[drawn] / macs[drawn]))
        yield "macs", (drawn, lambda rows: rate * macs[rows])


def _ridge(
    case: Case,
    x: Float[np.ndarray, "n f"],
    forth: Callable[[Any], Any],
    back: Callable[[Any], Any],
    rows: Rows,
) -> Callable[[Rows], Float[np.ndarray, " _"]]:
    t = forth(case.latency_ms[rows])
    z = x[rows] - x[rows].mean(0)[None, :]
    plain = z.T @ np.linalg.solve(z @ z.T + np.eye(len(rows)), t - t.mean())
    model = fit_ridge(x[rows], np.asarray(t, np.float64))

    def by_one(wanted: Rows) -> Any:
        return back((x[wanted] - x[rows].mean(0)[None, :]) @ plain + t.mean())

    def by_left_out(wanted: Rows) -> Any:
        return back(model.mean(x[wanted]))

    judged = case.latency_ms[case.trimmed]
    return max(by_one, by_left_out, key=lambda f: metrics.spearman(judged, f(case.trimmed)))


def figures(case: Case, estimate: Estimate) -> dict[str, float]:
    """A method's figures on the networks that it did not measure."""
    measured, predict = estimate
    y, others = case.latency_ms, np.setdiff1d(case.known, measured)
    trimmed = np.setdiff1d(case.trimmed, measured)
    found = predict(others)
    mean = found.mean if isinstance(found, Prediction) else found
    of = np.searchsorted(others, trimmed)
    out = {
        "spearman_trimmed": metrics.spearman(y[trimmed], mean[of]),
        "spearman": metrics.spearman(y[others], mean),
        "within_10pct": metrics.within(y[others], mean, 0.1),
    }
    if isinstance(found, Prediction):
        out["coverage_90"] = metrics.coverage(y[others], found.mean, found.std)
    return out


def run(
    cases: Sequence[Case], samples: Sequence[int], seeds: int, kept: Path | None = None
) -> tuple[Any, list[str]]:
    """Figures of all methods: a row a space, task, method, n, metric and seed; and tests.

    Args:
        cases: the new devices.
        samples: how many of each one's networks are measured.
        seeds: how often each is done.
        kept: a journal: what is in it is not computed again, and what is computed goes there.

    Raises:
        InputError: the journal is damaged or can't be written.
    """
    journal = Journal(kept) if kept else None
    known = {_key(record): record["figures"] for record in journal.records} if journal else {}
    rows = []
    # Seed by seed, so that a run that was stopped has all devices.
    for seed, (number, case), n in product(range(seeds), enumerate(cases), samples):
        record: dict[str, Any] = {
            "space": case.data.space,
            "task": case.device,
            "sources": list(case.sources),
            "n": n,
            "seed": seed,
        }
        done = known.get(_key(record))
        if done is None:
            done = {method: figures(case, e) for method, e in estimates(case, n, seed)}
            if journal:
                journal.append({**record, "figures": done})
            heads = ", ".join(f"{m} {f[_METRICS[0]]:.3f}" for m, f in done.items())
            told = f"seed {seed + 1}/{seeds}, {number + 1}/{len(cases)} {case.data.space}"
            print(f"{told} {case.device} @{n}: {heads}", file=sys.stderr, flush=True)
        for method, found in done.items():
            key = (case.data.space, case.device, method, n)
            rows += [(*key, metric, seed, value) for metric, value in found.items()]
    if journal:
        journal.close()
    names = ["space", "task", "method", "n", "metric", "seed", "value"]
    table: Any = pd.DataFrame(rows, columns=names)
    return table, [line for space in table["space"].unique() for line in _tests(table, space)]


def _key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    of = (record[name] for name in ("space", "task", "n", "seed"))
    return (*of, *record["sources"])


def _tests(table: Any, space: str) -> Iterator[str]:
    from scipy.stats import wilcoxon

    part = table[(table["space"] == space) & (table["metric"] == "spearman_trimmed")]
    against = "ridge" if "ridge" in set(part["method"]) else "ridge_onehot"
    for n, at in part.groupby("n"):
        wide = at.pivot(index=["task", "seed"], columns="method", values="value")
        gain = wide["ours"] - wide[against]
        by_device = gain.groupby("task").mean()
        tested: Any = wilcoxon(gain) if len(gain) > 5 and gain.abs().max() > 0 else None
        p = float(tested.pvalue) if tested else 1.0
        yield (
            f"{space} @{n}: ours - {against} = {gain.mean():+.4f} over {len(gain)} pairs of device "
            f"and seed, p = {p:.1e}; least on {by_device.idxmin()}: {by_device.min():+.4f}"
        )


def summary(table: Any) -> list[dict[str, Any]]:
    """Rows as BENCHMARKS wants them: means and standard deviations over seeds."""
    keys = ["space", "task", "method", "n", "metric"]
    by = ["space", "method", "n", "metric", "seed"]
    over = table.groupby(by, sort=False)["value"].mean().reset_index().assign(task="all")
    out = []
    both: Any = pd.concat([table, over])
    for key, values in both.groupby(keys, sort=False)["value"]:
        space, task, method, n, metric = key
        out.append(
            {
                "space": space,
                "task": task,
                "method": method,
                "baseline": method in _BASELINES,
                "n": int(n),
                "metric": metric,
                "mean": round(float(values.mean()), 4),
                "std": round(float(values.std(ddof=0)), 4),
                "seeds": len(values),
            }
        )
    return out


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of all devices' means, and one of each device's trimmed correlation."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=118)
    for space, n in dict.fromkeys((row["space"], row["n"]) for row in rows):
        here = [row for row in rows if (row["space"], row["n"]) == (space, n)]
        methods = list(dict.fromkeys(row["method"] for row in here))
        table = Table("metric, mean over devices", *methods, title=f"{space}, {n} measurements")
        cells = {(row["task"], row["metric"], row["method"]): row for row in here}
        tasks = [("all", metric) for metric in _METRICS]
        tasks += [(t, _METRICS[0]) for t in dict.fromkeys(r["task"] for r in here) if t != "all"]
        for task, metric in tasks:
            found = [cells.get((task, metric, method)) for method in methods]
            texts = [f"{row['mean']:.3f} ({row['std']:.3f})" if row else "" for row in found]
            table.add_row(metric if task == "all" else task, *texts)
        console.print(table)


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.latency_transfer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder a space")
    parser.add_argument("--space", type=_names, help="(default: all)")
    parser.add_argument("--targets", "--devices", type=_names, help="(default: all)")
    parser.add_argument("--sources", type=_names, help="`none`, or names (default: all)")
    parser.add_argument("--samples", "--n", type=_names, default=["10", "20", "50", "100"])
    parser.add_argument("--seeds", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--latency", type=Path, action="append", help="instead of the space's file")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="figures go there as they come; what is there already, by the same code and data, "
        "is not computed again",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        cases = list(_cases(arguments))
        samples = [int(n) for n in arguments.samples]
        table, tests = run(cases, samples, arguments.seeds, arguments.keep)
    except InputError as error:
        parser.error(str(error))
    rows = summary(table)
    if arguments.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count()}
        named = {case.device: list(case.sources) for case in cases}
        environment = {**machine, "tests": tests, "sources": named}
        found = {"benchmark": "latency_transfer", "rows": rows, "environment": environment}
        print(json.dumps(found))
        return
    show(rows)
    print("\n".join(tests))


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    for space in arguments.space or spaces(arguments.data):
        data = read(arguments.data / space, tuple(arguments.latency or ()))
        devices = list(data.latency_ms)
        sources = [] if arguments.sources == ["none"] else arguments.sources or devices
        targets = arguments.targets or devices
        unknown = sorted({*sources, *targets} - set(devices))
        if unknown:
            raise InputError(f"{space}: no device {unknown[0]!r}; devices: {', '.join(devices)}")
        for device in targets:
            family = data.family(device)
            yield Case(data, device, tuple(s for s in sources if data.family(s) != family))


if __name__ == "__main__":
    main()
