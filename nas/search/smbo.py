"""Sequential model-based optimisation over the knobs, with a linear surrogate.

Negrinho & Gordon, "DeepArchitect: Automatically Designing and Training Deep Architectures", 2017,
§5.3: of many architectures the best by ridge regression, now and then any. Mutants of the best are
among them, which the paper's are not: random ones alone seldom meet tight constraints.
"""

import numpy as np
from jaxtyping import Float, Int

from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told, best_first
from search_spaces.space import Archs

_CANDIDATES = 512
_PARENTS = 50
_ANY = 0.1
_FEWEST = 16
_RIDGE = 1.0


class SMBO(HistorySearch):
    """Ridge regression on the masked one-hot ranks random architectures and mutants of the best.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm = "smbo"

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """One in ten at random, the others by the surrogate."""
        if len(told) < _FEWEST:
            return
        n = max(_CANDIDATES, 8 * proposals.missing)
        best = told.archs[told.order()[:_PARENTS]]
        mutants = self.variation.mutate_one(rng, best[rng.integers(0, len(best), n)])
        archs = np.concatenate([self.space.sample(rng, n), self.space.canonical(mutants)])
        labels = np.concatenate([told.F, told.G], axis=1)
        estimate = self._ridge(told.archs, labels, archs)
        m = told.F.shape[1]
        violation = np.maximum(estimate[:, m:], 0.0).sum(axis=1)
        order = best_first(estimate[:, :m], violation)
        ranked = archs[order]
        anywhere = np.flatnonzero(rng.random(len(ranked)) < _ANY)
        ranked[anywhere] = self.space.sample(rng, len(anywhere))
        proposals.fill(lambda _, __: ranked, 1)

    def _ridge(
        self, archs: Archs, labels: Float[np.ndarray, "n m"], candidates: Int[np.ndarray, "c k"]
    ) -> Float[np.ndarray, "c m"]:
        x, new = (self.space.onehot(a).astype(float) for a in (archs, candidates))
        centre = x.mean(0)
        x = x - centre[None, :]
        offset = labels.mean(0)
        gram = x.T @ x + _RIDGE * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x.T @ (labels - offset[None, :]))
        return (new - centre[None, :]) @ weights + offset[None, :]
