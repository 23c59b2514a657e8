"""ParEGO: Bayesian optimisation of random scalarisations by expected improvement.

Knowles, "ParEGO: A Hybrid Algorithm with On-Line Landscape Approximation for Expensive
Multiobjective Optimization Problems", IEEE Transactions on Evolutionary Computation 10(1), 2006.
"""

import numpy as np
from scipy.stats import norm

from nas.search.acquisition import tchebycheff
from nas.search.candidates import evolved
from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from predictors.process import Process
from search_spaces.space import Archs

# Scalarisations tried in one proposal of many architectures.
_WEIGHTS = 4
_LEAST_VARIANCE = 1e-12


class ParEGO(HistorySearch):
    """A model of one weighted maximum of the objectives at a time; with one objective it is plain
    Bayesian optimisation by expected improvement.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm = "parego"
    modelled = True
    first_fit = 16

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """Candidates of largest expected improvement, some for each of a few weights."""
        if not self.models.ready:
            return
        fitted = self.models.given(told)
        m = told.F.shape[1]
        for k in range(_WEIGHTS if m > 1 else 1):
            weights = rng.dirichlet(np.ones(m))
            model, best = fitted.scalar(lambda F, w=weights: tchebycheff(F, w))

            def estimate(
                archs: Archs, model: Process = model, best: float = best
            ) -> tuple[np.ndarray, np.ndarray]:
                x = self.models.features(archs)
                mean, variance = model.marginals(x)
                std = np.sqrt(np.maximum(variance, _LEAST_VARIANCE))
                z = (best - mean) / std
                gain = std * (z * norm.cdf(z) + norm.pdf(z))
                return -np.log(np.maximum(gain, 1e-300))[:, None], fitted.violation(x)

            pool = evolved(self.space, self.seen, told, rng, estimate)
            share = proposals.missing // (_WEIGHTS - k) if m > 1 else proposals.missing
            proposals.fill(lambda _, __, pool=pool: pool, 1, n=len(proposals.archs) + max(share, 1))
