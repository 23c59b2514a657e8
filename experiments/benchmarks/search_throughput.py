"""How many architectures a second NSGA-II gets through, beside pymoo's and Optuna's.

    python -m experiments.benchmarks.search_throughput

The problem is the same for all: the space mobilenet_v3, accuracy from an ensemble of MLPs (fitted
to labels made from MACs and choices: what they say does not matter here), costs as a run asks for
them, the latency from a table of blocks; population 512, 200 generations. pymoo runs NSGA2 with its
integer operators and duplicate removal. Optuna's NSGAIISampler is timed on fewer trials. Ours and
pymoo's take turns; medians of the seeds. `ratio` is ours by theirs. Hypervolumes are of all that
each evaluated, up to the worst of both. Also: latencies of a million architectures on four devices,
and one search of 100 generations of 100 in a fresh process, with its compilations.

`per_cpu_second` counts the seconds that the process computed in place of those that passed: on a
machine that others use as well, the steadier figure.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from hw_profiles.joint import joint_latency
from hw_profiles.profilers.base import Measurement
from hw_profiles.table import LatencyTable, Settings
from hw_profiles.worklist import unit_keys
from nas.costs import Costs
from nas.environment import environment
from nas.pareto import hypervolume, nondominated
from nas.search.nsga2 import NSGA2
from predictors.mlp_ensemble import MLPEnsemble
from search_spaces import registry
from search_spaces.ir.blocks import BlockMap
from search_spaces.space import Archs

POPULATION, GENERATIONS = 512, 200
_LABELS, _DEVICES, _MILLION = 300, 4, 1_000_000
_OPTUNA_TRIALS = 600


@dataclass(frozen=True)
class Timed:
    """A search that was timed.

    Args:
        F: objectives of all that it evaluated.
        seconds: that passed.
        cpu_seconds: that the process computed.
    """

    F: Float[np.ndarray, "n 2"]
    seconds: float
    cpu_seconds: float


class Problem:
    """Error and latency of mobilenet_v3 networks."""

    def __init__(self) -> None:
        self.space = registry.create("mobilenet_v3")
        self.blocks = BlockMap(self.space)
        rng = np.random.default_rng(0)
        archs = self.space.sample(rng, _LABELS)
        weights = rng.normal(size=self.space.onehot(archs).shape[1]) / 30
        labels = np.log(self.blocks.total(self.blocks.macs, archs).astype(float))
        self.predictor = MLPEnsemble(self.space, 0)
        self.predictor.fit(archs, labels + self.space.onehot(archs) @ weights)

    @cached_property
    def tables(self) -> list[Any]:
        """A table for each of some devices, as if measured: microseconds that go with MACs."""
        keys = unit_keys(self.blocks)
        rng = np.random.default_rng(1)
        out = []
        for number in range(_DEVICES):
            us = self.blocks.macs * rng.uniform(0.5, 1.5, len(keys)) / 1e4 + 5
            units = {k: Measurement(k, float(v), 0.0, 1) for k, v in zip(keys, us, strict=True)}
            settings = Settings(None, "block", 1, 1, "float32")
            table = LatencyTable(f"device{number}", settings, units=units)
            out.append(table.bind(self.space, self.blocks))
        return out

    @cached_property
    def costs(self) -> Costs:
        """What a run with the first device asks for costs."""
        return Costs(self.blocks, {"device": self.tables[0]})

    def evaluate(self, archs: Archs) -> Float[np.ndarray, "n 2"]:
        """Minus the predicted accuracy, and milliseconds."""
        accuracy = self.predictor.predict(archs).mean
        return np.stack([-accuracy, self.costs.evaluate(archs)["latency_ms@device"]], axis=1)


def timed(search: Callable[[], Float[np.ndarray, "n 2"]]) -> Timed:
    """Run and time it."""
    wall, cpu = time.perf_counter(), time.process_time()
    F = search()
    return Timed(F, time.perf_counter() - wall, time.process_time() - cpu)


def ours(problem: Problem, seed: int, population: int, generations: int) -> np.ndarray:
    """Our NSGA-II, from its first random architecture to its last."""
    algorithm = NSGA2(problem.space, seed, population=population)
    every = []
    for _ in range(generations):
        archs = algorithm.ask(population)
        F = problem.evaluate(archs)
        algorithm.tell(archs, F, np.zeros((len(F), 0)))
        every.append(F)
    return np.concatenate(every)


def pymoo(problem: Problem, seed: int, population: int, generations: int) -> np.ndarray:
    """Pymoo's NSGA-II with its operators for integers."""
    from pymoo.algorithms.moo import nsga2 as theirs
    from pymoo.core.problem import Problem as TheirProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    every = []

    class Wrapped(TheirProblem):
        def __init__(self) -> None:
            top = problem.space.cardinality - 1
            super().__init__(n_var=len(top), n_obj=2, xl=0 * top, xu=top, vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"] = problem.evaluate(x.astype(np.int64))
            every.append(out["F"])

    repair = RoundingRepair()
    algorithm = theirs.NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=15, vtype=float, repair=repair),
        mutation=PM(eta=20, vtype=float, repair=repair),
        eliminate_duplicates=True,
    )
    minimize(Wrapped(), algorithm, ("n_gen", generations), seed=seed, verbose=False)
    return np.concatenate(every)


def optuna(problem: Problem, seed: int, trials: int) -> np.ndarray:
    """Optuna's NSGA-II, a trial at a time as it works."""
    import warnings

    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = library.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
        study = library.create_study(directions=["minimize", "minimize"], sampler=sampler)
        every = []
        for _ in range(trials):
            trial = study.ask()
            arch = [
                trial.suggest_int(str(i), 0, int(c) - 1)
                for i, c in enumerate(problem.space.cardinality)
            ]
            F = problem.evaluate(np.array([arch]))
            study.tell(trial, F[0].tolist())
            every.append(F)
    return np.concatenate(every)


def compare(problem: Problem, seeds: int) -> list[dict[str, Any]]:
    """Rates and hypervolumes of NSGA-II, in turns."""
    contestants = {"ours": ours, "pymoo": pymoo}
    for search in contestants.values():
        search(problem, 0, POPULATION, 3)
    runs: dict[str, list[Timed]] = {name: [] for name in contestants}
    for seed in range(seeds):
        for name, search in contestants.items():
            run = timed(lambda s=search, seed=seed: s(problem, seed, POPULATION, GENERATIONS))
            runs[name].append(run)
            rate = len(run.F) / run.seconds
            print(f"seed {seed} {name}: {rate:,.0f}/s", file=sys.stderr, flush=True)
    worst = np.max([run.F.max(axis=0) for each in runs.values() for run in each], axis=0)
    evaluated = POPULATION * GENERATIONS
    rows = []
    for name, each in runs.items():
        rows.append(_row(name, "per_second", [len(r.F) / r.seconds for r in each]))
        rows.append(_row(name, "per_cpu_second", [len(r.F) / r.cpu_seconds for r in each]))
        volumes = [hypervolume(r.F[:evaluated][nondominated(r.F[:evaluated])], worst) for r in each]
        rows.append(_row(name, "hypervolume", volumes))
    tried = [timed(lambda s=s: optuna(problem, s, _OPTUNA_TRIALS)) for s in range(min(seeds, 3))]
    rows.append(_row("optuna", "per_second", [len(r.F) / r.seconds for r in tried]))
    rows.append(_row("optuna", "per_cpu_second", [len(r.F) / r.cpu_seconds for r in tried]))
    for metric in ("per_second", "per_cpu_second"):
        median = {r["method"]: r["median"] for r in rows if r["metric"] == metric}
        for name in ("pymoo", "optuna"):
            label = "ratio" if metric == "per_second" else "ratio_cpu"
            rows.append(_row(f"ours/{name}", label, [median["ours"] / median[name]]))
    return rows


def costs(problem: Problem, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds for the latencies of a million architectures on four devices."""
    joint = joint_latency(problem.tables)
    archs = problem.space.sample(np.random.default_rng(2), _MILLION)
    archs = np.asfortranarray(archs.astype(problem.space.narrow))
    joint.cost(archs)
    wall, cpu = [], []
    for _ in range(repeats):
        began, computed = time.perf_counter(), time.process_time()
        joint.cost(archs)
        wall.append(1e3 * (time.perf_counter() - began))
        cpu.append(1e3 * (time.process_time() - computed))
    task = f"{_MILLION} architectures, {_DEVICES} devices"
    return [
        {**_row("ours", "milliseconds", wall), "task": task},
        {**_row("ours", "cpu_milliseconds", cpu), "task": task},
    ]


_FRESH = """
import json, sys, time
from experiments.benchmarks.search_throughput import Problem, ours, pymoo, timed
problem = Problem()
problem.predictor._model and problem.tables
problem.costs.evaluate(problem.space.smallest()[None])
import jax
jax.clear_caches()
search = {"ours": ours, "pymoo": pymoo}[sys.argv[1]]
run = timed(lambda: search(problem, 0, 100, 100))
print(json.dumps([run.seconds, run.cpu_seconds]))
"""


def fresh(repeats: int) -> list[dict[str, Any]]:
    """Seconds of one search of 100 generations of 100, imports and compilation included."""
    rows = []
    times: dict[str, list[list[float]]] = {"ours": [], "pymoo": []}
    for _ in range(repeats):
        for name, each in times.items():
            command = [sys.executable, "-c", _FRESH, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            each.append(json.loads(done.stdout.splitlines()[-1]))
    for name, each in times.items():
        for i, metric in enumerate(("seconds", "cpu_seconds")):
            row = _row(name, metric, [pair[i] for pair in each])
            rows.append({**row, "task": "one search of 100 x 100"})
    return rows


def _row(method: str, metric: str, values: Sequence[float]) -> dict[str, Any]:
    return {
        "task": f"NSGA-II {POPULATION} x {GENERATIONS}",
        "method": method,
        "baseline": not method.startswith("ours"),
        "n": POPULATION * GENERATIONS,
        "metric": metric,
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "median": float(np.median(values)),
        "seeds": len(values),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Architectures a second.")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="of the single search and costs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    problem = Problem()
    rows = [*costs(problem, arguments.repeats), *compare(problem, arguments.seeds)]
    rows += fresh(arguments.repeats)
    if arguments.json:
        kept = {"benchmark": "search_throughput", "rows": rows, "environment": environment()}
        print(json.dumps(kept))
        return
    for row in rows:
        print(f"{row['task']:36} {row['method']:12} {row['metric']:16} {row['median']:>14,.5g}")


if __name__ == "__main__":
    main()
