"""NSGA-III: the last front that fits in part is thinned out by reference directions.

Deb & Jain, "An Evolutionary Many-Objective Optimization Algorithm Using Reference-Point-Based
Nondominated Sorting Approach, Part I", IEEE Transactions on Evolutionary Computation 18(4), 2014.
"""

import numpy as np
from jaxtyping import Float, Int

from nas.pareto import nondominated_sort
from nas.search.directions import directions
from nas.search.genetic import Genetic


class NSGA3(Genetic):
    """For three objectives and more, where crowding distances say little.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        population: how many architectures survive a generation.

    Raises:
        InputError: the population is too small to be varied.
    """

    algorithm = "nsga3"

    def survivors(
        self, F: Float[np.ndarray, "n m"], violation: Float[np.ndarray, " n"]
    ) -> Int[np.ndarray, " s"]:
        """Whole fronts, then from the next one those in the emptiest niches (§IV-E)."""
        ranks = nondominated_sort(F, violation[:, None])
        order = np.argsort(ranks, kind="stable")
        if len(order) <= self.size:
            return order
        last = ranks[order[self.size - 1]]
        sure, rest = np.flatnonzero(ranks < last), np.flatnonzero(ranks == last)
        sure = sure[np.argsort(ranks[sure], kind="stable")]
        if violation[rest[0]] > 0:
            return np.concatenate([sure, rest])[: self.size]
        both = np.concatenate([sure, rest])
        niche, distance = _niches(F[both], directions(F.shape[1], self.size))
        filled = np.bincount(niche[: len(sure)], minlength=niche.max() + 1)
        own, far = niche[len(sure) :], distance[len(sure) :]
        # The k-th nearest of a niche comes after all niches have k.
        nearest = np.lexsort((far, own))
        start = np.searchsorted(own[nearest], own[nearest])
        turn = np.empty(len(rest), np.int64)
        turn[nearest] = np.arange(len(rest)) - start
        chosen = np.lexsort((far, turn + filled[own]))[: self.size - len(sure)]
        return np.concatenate([sure, rest[chosen]])


def _niches(
    F: Float[np.ndarray, "n m"], lines: Float[np.ndarray, "d m"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The direction that each point is nearest to, and how near."""
    extent = np.ptp(F, axis=0)
    scaled = (F - F.min(axis=0)[None, :]) / np.where(extent > 0, extent, 1.0)[None, :]
    unit = lines / np.linalg.norm(lines, axis=1, keepdims=True)
    along = scaled @ unit.T
    squared = np.maximum((scaled**2).sum(axis=1)[:, None] - along**2, 0.0)
    niche = np.argmin(squared, axis=1)
    return niche, squared[np.arange(len(F)), niche]
