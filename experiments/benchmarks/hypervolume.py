"""Hypervolume of searches for accuracy and MACs, on a surrogate of Once-for-All's MobileNetV3.

    python -m experiments.benchmarks.hypervolume --data DIR --algorithms auto,linas,nsga2,pymoo

Every search is told top-1 and MACs of 50 networks at a time from a surrogate, not of real ones:
ridge regression on all published evaluations (its error stands on the first line), of which MACs
are exact. All searches, pymoo's NSGA-II among them, have the same number of evaluations, the first
random or designed ones included, and the same population. The hypervolume is of all that was
evaluated so far, above 70 % top-1 and below 600 million MACs, in percent x million MACs.

`p` is of a one-sided Wilcoxon test that the method is better than `nsga2`, paired by seed, adjusted
over the methods by Holm's method.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from experiments.benchmarks.ofa_surrogate import Surrogate, fit_surrogate
from experiments.benchmarks.published_tables import chosen
from nas.environment import environment
from nas.pareto import hypervolume
from nas.search import registry
from nas.search.comparison import better, figures, holm
from search_spaces.errors import InputError

EVALUATIONS = (50, 100, 150, 200, 300, 500)
REFERENCE = np.array([-70.0, 600.0])
POPULATION = 50
_BATCH = {"auto": 10, "parego": 10, "qehvi": 10, "bananas": 10, "optuna": 10, "linas": 25}
_RIVAL = "nsga2"


def evaluated(surrogate: Surrogate, name: str, seed: int, n: int) -> Float[np.ndarray, "n 2"]:
    """Objectives of all that a search evaluated, in order."""
    if name == "pymoo":
        return _pymoo(surrogate, seed, n)
    genetic = name in ("nsga2", "nsga3", "moead")
    parameters = {"population": POPULATION} if genetic else {}
    algorithm = registry.create(name, surrogate.space, seed, **parameters)
    parts: list[np.ndarray] = []
    while (done := sum(map(len, parts))) < n:
        archs = algorithm.ask(min(_BATCH.get(name, POPULATION), n - done))
        parts.append(surrogate.evaluate(archs))
        algorithm.tell(archs, parts[-1], np.zeros((len(archs), 0)))
    return np.concatenate(parts)


def _pymoo(surrogate: Surrogate, seed: int, n: int) -> Float[np.ndarray, "n 2"]:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    parts: list[np.ndarray] = []
    top = surrogate.space.cardinality - 1

    class Wrapped(Problem):
        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *_: Any, **__: Any) -> None:
            out["F"] = surrogate.evaluate(x.astype(np.int64))
            parts.append(out["F"])

    repair = RoundingRepair()
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=15, vtype=float, repair=repair),
        mutation=PM(eta=20, vtype=float, repair=repair),
        eliminate_duplicates=True,
    )
    problem = Wrapped(n_var=len(top), n_obj=2, xl=0 * top, xu=top, vtype=int)
    minimize(problem, algorithm, ("n_eval", n), seed=seed, verbose=False)
    return np.concatenate(parts)[:n]


def run(data: Path, names: list[str], seeds: int, most: int) -> tuple[Surrogate, list[dict]]:
    """All searches, as rows of figures."""
    surrogate = fit_surrogate(data)
    steps = [n for n in EVALUATIONS if n <= most]
    volumes: dict[str, np.ndarray] = {}
    for name in names:
        began = time.process_time()
        found = [evaluated(surrogate, name, seed, steps[-1]) for seed in range(seeds)]
        volumes[name] = np.array([[hypervolume(F[:n], REFERENCE) for n in steps] for F in found])
        spent = (time.process_time() - began) / seeds
        print(f"{name}: {spent:.2f} CPU s a search", file=sys.stderr, flush=True)
    rows = []
    for i, n in enumerate(steps):
        at = {name: v[:, i] for name, v in volumes.items()}
        p = {}
        if _RIVAL in at:
            p = holm(
                {k: better(v, {_RIVAL: at[_RIVAL]})[_RIVAL] for k, v in at.items() if k != _RIVAL}
            )
        for name, values in at.items():
            rows.append(
                {
                    "task": "ofa_mbv3 top-1, MACs (surrogate)",
                    "method": "ours" if name == "auto" else name,
                    "baseline": name in ("random", "pymoo"),
                    "n": n,
                    "metric": "hypervolume",
                    **figures(values),
                    **({"p": p[name]} if name in p else {}),
                }
            )
    return surrogate, rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Hypervolume of searches.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmarks")
    parser.add_argument("--algorithms", default="auto,linas,nsga2,pymoo,random", help="a,b or all")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        names = chosen([*registry.names(), "pymoo"], arguments.algorithms, "--algorithms")
        surrogate, rows = run(arguments.data, names, arguments.seeds, arguments.evaluations)
    except InputError as error:
        parser.error("; ".join(error.problems))
    if arguments.json:
        kept = {"benchmark": "hypervolume", "rows": rows, "environment": environment()}
        print(json.dumps(kept))
        return
    print(
        f"surrogate of {surrogate.networks} networks: top-1 RMSE {surrogate.top1_rmse:.3f} pp "
        f"(10-fold), MACs within {surrogate.macs_error:.1e}"
    )
    steps = sorted({row["n"] for row in rows})
    print(f"{'method':24}" + "".join(f"{n:>22}" for n in steps))
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row["n"]: row for row in rows if row["method"] == method}
        cells = [f"{own[n]['mean']:.0f} +-{own[n]['std']:.0f}{_p(own[n])}" for n in steps]
        print(f"{method:24}" + "".join(f"{cell:>22}" for cell in cells))


def _p(row: dict[str, Any]) -> str:
    return f" p={row['p']:.0e}" if "p" in row else ""


if __name__ == "__main__":
    main()
