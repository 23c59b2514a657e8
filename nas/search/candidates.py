"""What a model-based search chooses from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from nas.pareto import nondominated
from nas.search.models import Features, Fitted, Models
from nas.search.proposals import settings
from nas.search.seen import Codes, Seen
from nas.search.told import Told, best_first
from nas.search.variation import MUTATIONS, Variation
from predictors.design import farthest_first
from predictors.scaling import scaling_of
from search_spaces.space import Archs, SearchSpace

# Spaces up to this many architectures are looked at whole.
ENUMERABLE = 2**15
_ROUNDS, _POOL, _PARENTS, _RANDOM = 12, 400, 100, 100
_DESIGN_POOL = 1000
# Candidates whose spread is looked at, of all in a small space.
_LIKELY = 2000
_WIDTH = 1.0
_LEADERS = 5

# Estimated objectives and total violation of architectures.
Estimate = Callable[[Archs], tuple[Float[np.ndarray, "n m"], Float[np.ndarray, " n"]]]


@dataclass(frozen=True)
class Pool:
    """Architectures that can all be looked at.

    Args:
        archs: canonical and distinct.
        x: their features.
        coarse: the same in single precision.
        codes: as of `Seen`.
    """

    archs: Archs
    x: Float64[np.ndarray, "n f"]
    coarse: Float32[np.ndarray, "n f"]
    codes: Codes


def pool_of(space: SearchSpace, archs: Archs) -> Pool:
    """A pool of canonical, distinct architectures."""
    x = scaling_of(space)(archs)
    return Pool(archs, x, x.astype(np.float32), Seen(space).codes(archs))


@lru_cache(maxsize=4)
def whole(space: SearchSpace) -> Pool | None:
    """All architectures of a small space; None of a large one."""
    if prod(map(int, space.cardinality)) > ENUMERABLE:
        return None
    return pool_of(space, np.unique(space.canonical(settings(space.cardinality)), axis=0))


def evolved(
    space: SearchSpace,
    seen: Seen,
    told: Told,
    rng: np.random.Generator,
    estimate: Estimate,
    rounds: int = _ROUNDS,
) -> Archs:
    """Unseen architectures that a genetic search thinks good, by estimates alone.

    Args:
        space: where they come from.
        seen: what was told.
        told: the best of it are the first parents.
        rng: source of the choices.
        estimate: of new architectures.
        rounds: generations.

    Returns:
        The last generation, distinct, best first; all there are where a search is restricted.
    """
    if seen.only is not None:
        listed = seen.only[~seen.contains(seen.codes(seen.only))]
        return listed[best_first(*estimate(listed))]
    variation = Variation(space)
    parents = told.archs[told.order()[:_PARENTS]]
    fresh = space.sample(rng, _RANDOM)
    pool, F, violation = fresh, *estimate(fresh)
    for _ in range(rounds):
        first, second = rng.integers(0, len(parents), (2, 2, _POOL)).min(axis=0)
        active = space.active(parents)
        children = variation.cross(
            rng, parents[first], parents[second], (active[first], active[second])
        )
        rate = 2 * MUTATIONS / np.maximum(active[first].sum(axis=1), 1)
        children = space.canonical(variation.mutate(rng, children, rate))
        codes = np.concatenate([seen.codes(pool), seen.codes(children)])
        first_row = np.unique(codes, return_index=True)[1]
        new = first_row[(first_row >= len(pool)) & ~seen.contains(codes[first_row])] - len(pool)
        new_F, new_violation = estimate(children[new])
        pool = np.concatenate([pool, children[new]])
        F, violation = np.concatenate([F, new_F]), np.concatenate([violation, new_violation])
        best = best_first(F, violation)[:_POOL]
        pool, F, violation = pool[best], F[best], violation[best]
        parents = pool[:_PARENTS]
    unseen = ~seen.contains(seen.codes(pool))
    return pool[unseen]


def design_size(space: SearchSpace) -> int:
    """Architectures that a design has by default: ten, or half the knobs if these are more."""
    return min(max(10, len(space.knobs) // 2), 30)


class Candidates:
    """Where a model-based search looks: a design that fills the space, then what its models think
    promising, and the neighbours of the best.

    Args:
        space: where the architectures come from.
        seen: what was told, and what the search is restricted to.
        models: of the search.
    """

    def __init__(self, space: SearchSpace, seen: Seen, models: Models) -> None:
        self._space = space
        self._seen = seen
        self._models = models
        self._designs: dict[tuple[int, int], Archs] = {}

    def forget(self) -> None:
        """Look anew at what the search is restricted to."""
        self._designs.clear()
        self.__dict__.pop("_pool", None)

    def design(self, n: int, seed: int) -> Archs:
        """So many architectures far from each other."""
        if (n, seed) not in self._designs:
            rng, only = np.random.default_rng(seed), self._seen.only
            drawn = self._space.sample(rng, _DESIGN_POOL) if only is None else rng.permutation(only)
            pool = np.unique(drawn[:_DESIGN_POOL], axis=0)
            chosen = farthest_first(self._space, pool, n, seed)
            self._designs[n, seed] = pool[chosen]
        return self._designs[n, seed]

    @cached_property
    def _pool(self) -> Pool | None:
        found, only = whole(self._space), self._seen.only
        return pool_of(self._space, only) if found is None and only is not None else found

    def promising(
        self, rng: np.random.Generator, told: Told, fitted: Fitted, n: int
    ) -> tuple[Int[np.ndarray, "c k"], Features, Bool[np.ndarray, " c"]]:
        """The best by their confidence bounds, and some neighbours of the best that are known.

        Args:
            rng: source of the choices.
            told: all that is known.
            fitted: models that know it.
            n: how many, without the neighbours.

        Returns:
            Unseen architectures, best first but for the neighbours; their features; which are
            neighbours.
        """
        leaders = _leaders(rng, told)
        near = np.concatenate([self._space.neighbours(arch) for arch in leaders])
        near = near[~self._seen.contains(self._seen.codes(near))]
        archs, x = self._looked_at(rng, told, fitted, near)
        best = best_first(fitted.optimistic(x, _WIDTH), fitted.violation(x))
        local = np.isin(self._seen.codes(archs[best]), self._seen.codes(near))
        rows = np.concatenate([np.arange(len(best))[:n], n + np.flatnonzero(local[n:])[: n // 4]])
        return archs[best[rows]], x[best[rows]], local[rows]

    def _looked_at(
        self, rng: np.random.Generator, told: Told, fitted: Fitted, near: Archs
    ) -> tuple[Int[np.ndarray, "c k"], Features]:
        pool = self._pool
        if pool is not None:
            rows = np.flatnonzero(~self._seen.contains(pool.codes))
            x = pool.coarse[rows]
            likely = best_first(fitted.means(x), fitted.violation(x))[:_LIKELY]
            local = np.flatnonzero(np.isin(pool.codes[rows], self._seen.codes(near)))
            rows = rows[np.union1d(likely, local)]
            return pool.archs[rows], pool.x[rows]

        def estimate(archs: Archs) -> tuple[np.ndarray, np.ndarray]:
            x = self._models.features(archs)
            return fitted.optimistic(x, _WIDTH), fitted.violation(x)

        archs = evolved(self._space, self._seen, told, rng, estimate)
        archs = np.unique(np.concatenate([archs, near]), axis=0)
        return archs, self._models.features(archs)


def _leaders(rng: np.random.Generator, told: Told) -> Archs:
    """Some of the front, or the least violating."""
    order = told.order()
    violation = told.violation[order]
    front = order[violation == violation[0]]
    if violation[0] == 0:
        front = front[nondominated(told.F[front])]
    return told.archs[rng.permutation(front)[:_LEADERS]]
