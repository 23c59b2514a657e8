"""qEHVI: the expected gain of the front's hypervolume, for a batch at a time.

Daulton, Balandat, Bakshy, "Differentiable Expected Hypervolume Improvement for Parallel
Multi-Objective Bayesian Optimization", NeurIPS 2020. Candidates are architectures, so the
acquisition is maximised by trying them, not by gradients.
"""

import numpy as np

from nas.search.acquisition import most_gained
from nas.search.candidates import Candidates, design_size
from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.space import Archs, SearchSpace

# Candidates that are sampled from jointly.
_JOINT = 200


class QEHVI(HistorySearch):
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
    modelled = True

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self.first_fit = design_size(space)
        self._candidates = Candidates(space, self.seen, self.models)

    def restrict(self, archs: Archs) -> None:
        """See `Restrictable`."""
        super().restrict(archs)
        self._candidates.forget()

    def start(self, rng: np.random.Generator, proposals: Proposals) -> None:  # noqa: ARG002
        """The design."""
        self._fill_with_design(proposals, self.first_fit)

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """What is left of the design, then by the models."""
        if len(self.seen) < self.first_fit:
            self._fill_with_design(proposals, self.first_fit - len(self.seen))
        elif self.models.ready:
            proposals.fill(lambda _, n: self._best(rng, told, n), 1)

    def _fill_with_design(self, proposals: Proposals, n: int) -> None:
        design = self._candidates.design(self.first_fit, self.seed)
        proposals.fill(lambda _, __: design, 1, n=n)

    def _best(self, rng: np.random.Generator, told: Told, n: int) -> Archs:
        fitted = self.models.given(told)
        archs, x, _ = self._candidates.promising(rng, told, fitted, max(_JOINT, 2 * n))
        return archs[most_gained(rng, fitted, x, n)] if len(archs) else archs
