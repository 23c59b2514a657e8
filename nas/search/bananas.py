"""BANANAS: mutations of the best, ranked by independent Thompson samples of a model.

White, Neiswanger, Savani, "BANANAS: Bayesian Optimization with Neural Architectures for Neural
Architecture Search", AAAI 2021, §4; the model is our Gaussian process, not an ensemble of networks.
"""

import numpy as np

from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told, best_first

_PARENTS, _MUTANTS = 30, 400


class Bananas(HistorySearch):
    """Every proposal has a sample of its own for each candidate.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm = "bananas"
    modelled = True
    first_fit = 10

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """Unseen architectures one to three mutations away from the best."""
        if not self.models.ready:
            return
        fitted = self.models.given(told)
        parents = told.archs[told.order()[:_PARENTS]]
        mutants = parents[rng.integers(0, len(parents), max(_MUTANTS, 4 * proposals.missing))]
        mutants = self.variation.mutate_one(rng, mutants)
        for _ in range(2):
            again = rng.random(len(mutants)) < 0.5
            mutants[again] = self.variation.mutate_one(rng, mutants[again])
        archs = np.unique(self.space.canonical(mutants), axis=0)
        archs = archs[~self.seen.contains(self.seen.codes(archs))]
        if not len(archs):
            return
        x = self.models.features(archs)
        marginals = [model.marginals(x) for model in fitted.objectives]
        noise = rng.normal(size=(len(marginals), len(archs)))
        draws = [m + np.sqrt(v) * z for (m, v), z in zip(marginals, noise, strict=True)]
        F = np.stack(draws, axis=1)
        order = best_first(F, fitted.violation(x))
        proposals.fill(lambda _, __: archs[order], 1)
