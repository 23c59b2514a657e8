"""LINAS: predictors fitted to what was evaluated choose the next ones by a search of their own.

Cummings et al., "A Hardware-Aware Framework for Accelerating Neural Architecture Search Across
Modalities" (DyNAS-T), 2022, algorithm 1.
"""

import numpy as np

from nas.search.candidates import evolved
from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.space import Archs

_ROUNDS = 30


class Linas(HistorySearch):
    """Evaluates the best of a genetic search on the models' means, then fits the models again.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm = "linas"
    modelled = True
    first_fit = 16

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """The estimated front, least crowded first."""
        if not self.models.ready:
            return
        fitted = self.models.given(told)

        def estimate(archs: Archs) -> tuple[np.ndarray, np.ndarray]:
            x = self.models.features(archs)
            return fitted.means(x), fitted.violation(x)

        pool = evolved(self.space, self.seen, told, rng, estimate, _ROUNDS)
        proposals.fill(lambda _, __: pool, 1)
