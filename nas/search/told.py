"""What a search was told."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from nas.pareto import by_front, crowding_distance, nondominated_sort, total_violation
from search_spaces.space import Archs


@dataclass(frozen=True)
class Told:
    """Evaluated architectures in the order of their first evaluation, with their latest values.

    Args:
        archs: canonical and distinct.
        F: objectives, finite.
        G: constraints, finite; feasible where all are <= 0.
    """

    archs: Archs
    F: Float[np.ndarray, "n m"]
    G: Float[np.ndarray, "n c"]

    def __len__(self) -> int:
        return len(self.archs)

    @property
    def violation(self) -> Float[np.ndarray, " n"]:
        """Total violation of the constraints, 0 where feasible."""
        return total_violation(self.G)

    def rows(self, chosen: Int[np.ndarray, " r"] | Bool[np.ndarray, " n"] | slice) -> "Told":
        """Some of them."""
        return Told(self.archs[chosen], self.F[chosen], self.G[chosen])

    def order(self) -> Int[np.ndarray, " n"]:
        """Row numbers, best first: feasible ones by front and crowding, then by violation."""
        return best_first(self.F, self.violation)


def best_first(
    F: Float[np.ndarray, "n m"], violation: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Row numbers by constrained domination (Deb et al. 2002), then by crowding distance."""
    if F.shape[1] == 1:
        return np.lexsort((F[:, 0], violation))
    ranks = nondominated_sort(F, violation[:, None])
    return by_front(ranks, -crowding_distance(F, ranks))
