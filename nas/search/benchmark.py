"""Searches of one problem over many seeds: how good after how many evaluations.

The rules are those of Yang, Esperança, Carlucci, "NAS evaluation is frustratingly hard", ICLR 2020:
equal budgets, many seeds, and what is found relative to the average random architecture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from nas.pareto import hypervolume
from nas.search import registry
from nas.search.comparison import better, figures
from nas.search.tabular import keep_to
from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace

Evaluate = Callable[[Archs], tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n c"]]]
_SAMPLE = 2000
# Architectures that can't be evaluated, for each that is wanted, after which a search ends.
_MOST_FAILURES = 50
_POINTS = 40


@dataclass(frozen=True)
class Problem:
    """What is searched, at no cost for an evaluation.

    Args:
        space: where the architectures come from.
        evaluate: objectives to minimise and constraints; not finite where an architecture can't
            be evaluated, which costs nothing.
        goals: +1 for an objective that is told as it is, -1 for one that was to be maximised.
        metric: name of the figure: the objective, or `hypervolume` of several.
        held: architectures that can be evaluated; None where they are all of the space, or not
            known.
    """

    space: SearchSpace
    evaluate: Evaluate
    goals: tuple[float, ...]
    metric: str
    held: Archs | None = None

    @cached_property
    def random(self) -> Float[np.ndarray, "n m"]:
        """Objectives of random architectures.

        Raises:
            InputError: none of them can be evaluated.
        """
        rng, held = np.random.default_rng(0), self.held
        archs = self.space.sample(rng, _SAMPLE) if held is None else rng.permutation(held)[:_SAMPLE]
        F, G = self.evaluate(archs)
        F = F[np.isfinite(F).all(axis=1) & np.isfinite(G).all(axis=1)]
        if not len(F):
            raise InputError(
                f"none of {len(archs)} random architectures can be evaluated: nothing to compare "
                "with"
            )
        return F

    @cached_property
    def reference(self) -> Float[np.ndarray, " m"]:
        """The worst of random architectures in each objective, and a little beyond."""
        return self.random.max(axis=0) + 0.01 * np.ptp(self.random, axis=0)

    @cached_property
    def average(self) -> float:
        """Quality of one random architecture, on average."""
        if len(self.goals) == 1:
            return -float(self.random.mean())
        return float(np.prod(self.reference[None, :] - self.random, axis=1).mean())

    def quality(self, F: Float[np.ndarray, "n m"], G: Float[np.ndarray, "n c"]) -> float:
        """Of what was evaluated, more is better: the best objective, or the hypervolume.

        Where nothing feasible was found it is that of the reference.
        """
        F = F[(G <= 0).all(axis=1)]
        if len(self.goals) > 1:
            return hypervolume(F, self.reference)
        return -float(min(F.min(initial=np.inf), self.reference[0]))

    def told(self, quality: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Qualities as the objective's own numbers."""
        return -self.goals[0] * quality if len(self.goals) == 1 else quality


def steps_of(queries: int) -> Int[np.ndarray, " s"]:
    """Numbers of evaluations at which searches are compared: an eighth of all to all of them."""
    return np.unique([-(-queries // part) for part in (8, 4, 2, 1)])


def points_of(queries: int) -> Int[np.ndarray, " p"]:
    """Numbers of evaluations at which curves are drawn, `steps_of` among them."""
    even = np.linspace(1, queries, min(_POINTS, queries)).astype(np.int64)
    return np.unique(np.concatenate([even, steps_of(queries)]))


def curve(
    problem: Problem, name: str, seed: int, queries: int, batch: int, **parameters: Any
) -> Float[np.ndarray, " p"]:
    """Quality after growing numbers of evaluations (`points_of`) of one search.

    The curve stays level where an algorithm has no more to ask for.
    """
    algorithm = registry.create(name, problem.space, seed, **parameters)
    if problem.held is not None:
        keep_to(algorithm, problem.space, problem.held)
    F, G = [np.zeros((0, len(problem.goals)))], []
    found = failed = 0
    while found < queries and failed < _MOST_FAILURES * queries:
        archs = algorithm.ask(min(batch, queries - found))
        if not len(archs):
            break
        new_F, new_G = problem.evaluate(archs)
        algorithm.tell(archs, new_F, new_G)
        known = np.isfinite(new_F).all(axis=1) & np.isfinite(new_G).all(axis=1)
        F.append(new_F[known])
        G.append(new_G[known])
        found += int(known.sum())
        failed += int((~known).sum())
    if not G:
        raise InputError(f"{name} asked for nothing: the space has no architectures")
    every_F, every_G = np.concatenate(F), np.concatenate(G)
    return np.array([problem.quality(every_F[:n], every_G[:n]) for n in points_of(queries)])


def rows_of(
    problem: Problem, curves: Mapping[str, Float[np.ndarray, "s p"]], queries: int
) -> list[dict[str, Any]]:
    """Figures of every algorithm after an eighth of the evaluations, a quarter, half, all.

    Returns:
        of each: `algorithm`, `n` (evaluations), `metric`, mean, standard deviation, seeds and the
        ends of the 95 % bootstrap interval of the mean; `improvement`, over the average random
        architecture in percent of it; and of all but the first algorithm `p`: that the first is
        no better (Wilcoxon, one-sided, paired by seed, adjusted by Holm's method).
    """
    points, rows = points_of(queries), []
    ours, *others = curves
    for n in steps_of(queries):
        at = {name: each[:, int(np.flatnonzero(points == n)[0])] for name, each in curves.items()}
        p = better(at[ours], {name: at[name] for name in others})
        for name, quality in at.items():
            improvement = 100 * (quality - problem.average) / abs(problem.average)
            rows.append(
                {
                    "algorithm": name,
                    "n": int(n),
                    "metric": problem.metric,
                    **figures(problem.told(quality)),
                    "improvement": float(improvement.mean()),
                    **({"p": p[name]} if name in p else {}),
                }
            )
    return rows


def compare(
    problem: Problem,
    names: Sequence[str],
    seeds: int,
    queries: int,
    batch: int,
    parameters: Mapping[str, Mapping[str, Any]],
    progress: Callable[[str, int], None],
) -> dict[str, Float[np.ndarray, "s p"]]:
    """Curves of every algorithm from seeds 0, 1, ...

    Args:
        problem: what is searched.
        names: algorithms.
        seeds: searches of each.
        queries: evaluations of a search.
        batch: architectures asked for at a time.
        parameters: of the algorithms that have some.
        progress: told the algorithm and how many of its searches are done.
    """
    curves = {}
    for name in names:
        each = []
        for seed in range(seeds):
            each.append(curve(problem, name, seed, queries, batch, **parameters.get(name, {})))
            progress(name, seed + 1)
        curves[name] = np.stack(each)
    return curves
