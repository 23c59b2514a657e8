"""What a model-based search chooses from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from jaxtyping import Float, Float32, Float64

from nas.search.proposals import settings
from nas.search.seen import Codes, Seen
from nas.search.told import Told, best_first
from nas.search.variation import MUTATIONS, Variation
from predictors.scaling import scaling_of
from search_spaces.space import Archs, SearchSpace

# Spaces up to this many architectures are looked at whole.
ENUMERABLE = 2**15
_ROUNDS, _POOL, _PARENTS, _RANDOM = 12, 400, 100, 100

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
