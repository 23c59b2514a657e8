"""Directions spread evenly over the positive orthant."""

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Float


@lru_cache(maxsize=32)
def directions(m: int, most: int) -> Float[np.ndarray, "d m"]:
    """The finest simplex lattice of at most so many points (Das & Dennis 1998).

    Args:
        m: objectives.
        most: at least `m`; with fewer there are still `m`, the axes.

    Returns:
        rows that sum to 1.
    """
    if m == 1:
        return np.ones((1, 1))
    parts = 1
    while comb(parts + m, m - 1) <= most:
        parts += 1
    bars = np.array(list(combinations(range(parts + m - 1), m - 1)))
    edges = np.concatenate(
        [np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), parts + m - 1)], axis=1
    )
    return (np.diff(edges, axis=1) - 1) / parts
