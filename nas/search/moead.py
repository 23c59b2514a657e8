"""MOEA/D: a scalar problem for each direction, which share their solutions.

Zhang & Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition", IEEE
Transactions on Evolutionary Computation 11(6), 2007; for whole generations at a time.
"""

import numpy as np
from jaxtyping import Float, Int

from nas.search.directions import directions
from nas.search.genetic import Genetic, Population

# Parents of a child are at most so many places apart along the directions (a share of all).
_NEAR = 0.2


class MOEAD(Genetic):
    """Keeps the best architecture of every direction (Tchebycheff); neighbours have children.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        population: number of directions, at most.

    Raises:
        InputError: the population is too small to be varied.
    """

    algorithm = "moead"

    def survivors(
        self, F: Float[np.ndarray, "n m"], violation: Float[np.ndarray, " n"]
    ) -> Int[np.ndarray, " s"]:
        """The best of every direction, in the directions' order; where none is feasible, the least
        violating.
        """
        feasible = np.flatnonzero(violation == 0)
        if not len(feasible):
            return np.argsort(violation, kind="stable")[: self.size]
        own = F[feasible]
        extent = np.ptp(own, axis=0)
        scaled = (own - own.min(axis=0)[None, :]) / np.where(extent > 0, extent, 1.0)[None, :]
        weights = np.maximum(directions(F.shape[1], self.size), 1e-6)
        best = np.array([np.argmin((scaled * w[None, :]).max(axis=1)) for w in weights])
        kept = feasible[np.array(list(dict.fromkeys(best.tolist())))]
        rest = np.setdiff1d(np.arange(len(F)), kept)
        # Few on the front: others keep the population varied.
        rest = rest[np.lexsort((F[rest].sum(axis=1), violation[rest]))]
        return np.concatenate([kept, rest])[: max(len(kept), min(self.size // 4, len(F)), 4)]

    def partners(
        self, rng: np.random.Generator, population: Population, n: int
    ) -> Int[np.ndarray, "2 n"]:
        """Survivors stand in the directions' order, so neighbours are near in it."""
        first = rng.integers(0, len(population), n)
        reach = max(int(_NEAR * len(population)), 1)
        second = first + rng.integers(-reach, reach + 1, n)
        return np.stack([first, np.clip(second, 0, len(population) - 1)])
