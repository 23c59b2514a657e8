"""Which architectures to label: some that cover all candidates, by what they are made of.

Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007: each next one is
drawn with a probability that grows with the square of its distance from those chosen before. The
farthest alone would be the odd ones out: they tell a search more, a predictor less.
"""

import numpy as np
from jaxtyping import Float64, Int
from threadpoolctl import threadpool_limits

from predictors.scaling import scaling_of
from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace

# Of so many draws the one that leaves the candidates nearest to a chosen one is taken.
_DRAWS = 4


def spread_labels(
    space: SearchSpace, candidates: Archs, n: int, seed: int
) -> Int[np.ndarray, " chosen"]:
    """Rows of the candidates to label.

    Args:
        space: where they come from.
        candidates: architectures, at least `n`.
        n: how many to choose; none twice.
        seed: of the draws.

    Raises:
        InputError: fewer candidates than asked for.
    """
    if n > len(candidates):
        raise InputError(f"labels: {n} asked for, there are {len(candidates)} candidates")
    # One thread, so that the same draws follow again when a run is resumed.
    with threadpool_limits(1, "blas"):
        return _seeds(scaling_of(space)(candidates), n, seed)


def farthest_first(
    space: SearchSpace, candidates: Archs, n: int, seed: int
) -> Int[np.ndarray, " chosen"]:
    """Rows of at most `n` candidates, each the farthest from those before it.

    Args:
        space: where they come from.
        candidates: architectures.
        n: how many to choose.
        seed: of the first.
    """
    x = scaling_of(space)(candidates)
    chosen = [int(np.random.default_rng(seed).integers(len(x)))]
    distance = _squared(x, x[chosen])[0]
    while len(chosen) < min(n, len(x)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, _squared(x, x[chosen[-1:]])[0])
    return np.array(chosen)


def _seeds(x: Float64[np.ndarray, "m f"], n: int, seed: int) -> Int[np.ndarray, " n"]:
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(x)))]
    distance = _squared(x, x[chosen])[0]
    while len(chosen) < n:
        free = np.ones(len(x), bool)
        free[chosen] = False
        # Once every candidate has an equal among the chosen, any of the rest will do.
        weight = np.where(free, distance, 0.0)
        weight = weight if weight.sum() > 0 else free.astype(np.float64)
        drawn = rng.choice(len(x), _DRAWS, p=weight / weight.sum())
        after = np.minimum(distance[None, :], _squared(x, x[drawn]))
        best = int(np.argmin(after.sum(1)))
        chosen.append(int(drawn[best]))
        distance = after[best]
    return np.array(chosen)


def _squared(
    x: Float64[np.ndarray, "n f"], centers: Float64[np.ndarray, "k f"]
) -> Float64[np.ndarray, "k n"]:
    cross = centers @ x.T
    own, other = np.square(x).sum(1), np.square(centers).sum(1)
    return np.maximum(own[None, :] + other[:, None] - 2 * cross, 0)
