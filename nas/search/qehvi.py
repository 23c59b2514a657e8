"""qEHVI: the expected gain of the front's hypervolume, for a batch at a time.

Daulton, Balandat, Bakshy, "Differentiable Expected Hypervolume Improvement for Parallel
Multi-Objective Bayesian Optimization", NeurIPS 2020. Candidates are architectures, so the
acquisition is maximised by trying them, not by gradients.
"""

import numpy as np

from nas.search.acquisition import most_gained
from nas.search.designed import DesignedSearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.space import Archs

# Candidates that are sampled from jointly.
_JOINT = 200


class QEHVI(DesignedSearch):
    """Gaussian processes; each architecture of a batch adds most to the front on average over
    joint samples of what all candidates may be, given those before it; with one objective it is
    the expected improvement of batches.

    What breaks a constraint in a sample adds nothing in it: gains are weighed by the probability of
    being feasible. While nothing feasible is known, the total violation takes the objectives'
    place.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm = "qehvi"

    def go_on(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """The batch that is expected to gain most."""
        if self.models.ready:
            proposals.fill(lambda _, n: self._best(rng, told, n), 1)

    def _best(self, rng: np.random.Generator, told: Told, n: int) -> Archs:
        fitted = self.models.given(told)
        archs, x, _ = self.candidates.promising(rng, told, fitted, max(_JOINT, 2 * n))
        return archs[most_gained(rng, fitted, x, n)] if len(archs) else archs
