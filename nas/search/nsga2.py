"""NSGA-II on integer matrices.

Deb, Pratap, Agarwal, Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II",
IEEE Transactions on Evolutionary Computation 6(2), 2002.
"""

import numpy as np
from jaxtyping import Float, Int

from nas.pareto import by_front, crowding_distance, nondominated_sort
from nas.search.genetic import Genetic


class NSGA2(Genetic):
    """Elitist genetic search for a Pareto front, feasible architectures first.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        population: how many architectures survive a generation; also the number of random ones
            that it starts from, the largest and the smallest included.

    Raises:
        InputError: the population is too small to be varied.
    """

    algorithm = "nsga2"

    def survivors(
        self, F: Float[np.ndarray, "n m"], violation: Float[np.ndarray, " n"]
    ) -> Int[np.ndarray, " s"]:
        """The first fronts; of the last one that fits in part, the least crowded (§III-C)."""
        ranks = nondominated_sort(F, violation[:, None], enough=self.size)
        last = np.sort(ranks)[: self.size][-1:]
        rows = np.flatnonzero(ranks <= last)
        F, ranks = F.take(rows, axis=0), ranks[rows]
        return rows[by_front(ranks, -crowding_distance(F, ranks))[: self.size]]
