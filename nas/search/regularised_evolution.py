"""Regularised evolution: the oldest die, whatever they are worth.

Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search",
AAAI 2019.
"""

import numpy as np

from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.errors import InputError
from search_spaces.space import SearchSpace

_ROUNDS = 8


class RegularisedEvolution(HistorySearch):
    """Mutates the best of a random sample of the youngest architectures.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        population: how many of the youngest may be parents.
        sample: of how many of them the best is the parent.

    Raises:
        InputError: population or sample are too small.
    """

    algorithm = "regularised_evolution"

    def __init__(
        self, space: SearchSpace, seed: int, *, population: int = 30, sample: int = 10
    ) -> None:
        super().__init__(space, seed)
        if not 1 <= sample <= population:
            raise InputError(f"sample: must lie between 1 and population, got {sample}")
        self._population = population
        self._sample = sample

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """Children of one mutation; random architectures until the population is full."""
        if len(told) < self._population:
            return
        young = told.rows(slice(-self._population, None))
        archs = young.archs[young.order()]

        def children(attempt: int, missing: int) -> np.ndarray:
            drawn = rng.random((missing, len(archs))).argpartition(self._sample - 1, axis=1)
            parents = archs[drawn[:, : self._sample].min(axis=1)]
            for _ in range(attempt + 1):
                parents = self.variation.mutate_one(rng, parents)
            return parents

        proposals.fill(children, _ROUNDS)
