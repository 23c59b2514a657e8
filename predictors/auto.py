"""The predictor for those who don't want to choose: the one that orders unseen labels best.

Judged by cross-validation on the labels at hand. Stacks of several were tried and left out: at a
few dozen labels they order worse than the best one alone, at hundreds hardly better.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors.base import Prediction
from predictors.boosting import Boosting
from predictors.feature_predictor import FeaturePredictor, Model
from predictors.gaussian_process import GaussianProcess
from predictors.labels import folds
from predictors.metrics import kendall_tau
from predictors.ridge import Ridge
from predictors.ridge_regression import fit_ridge
from search_spaces.space import Archs

_FOLDS = 5
# By how much another one's Kendall's tau must be larger than the process's: less is luck.
_MARGIN = 0.01


@dataclass(frozen=True)
class AutoModel:
    """The model of the predictor that was chosen.

    Args:
        chosen: the predictor, which knows its features.
        model: fitted to all labels.
    """

    chosen: FeaturePredictor[Any]
    model: Model

    def predict(self, x: Float[np.ndarray, "n k"]) -> Prediction:
        """Estimates of architectures, which stand in the rows as they are."""
        return self.model.predict(self.chosen.features(x.astype(np.int64)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Those of the model, and which it is."""
        return {"chosen": np.array(self.chosen.type), **self.model.arrays()}


class Auto(FeaturePredictor[AutoModel]):
    """Gaussian process on descriptors, boosted trees or ridge, whichever orders unseen labels best.

    Args:
        space: where the architectures come from.
        seed: of the held-out choice, the folds, and of the predictors.
        macs: MACs of architectures, for the baseline in the report.
        holdout: share of the labelled architectures that only the report's models don't see.
        extra: further features for the process and the trees.
    """

    type = "auto"
    sees_extra = True

    @cached_property
    def _process(self) -> GaussianProcess:
        return GaussianProcess(self.space, self.seed, extra=self.extra)

    @cached_property
    def _trees(self) -> Boosting:
        return Boosting(self.space, self.seed, extra=self.extra)

    @cached_property
    def _ridge(self) -> Ridge:
        return Ridge(self.space, self.seed)

    def features(self, archs: Archs) -> Float64[np.ndarray, "n k"]:
        """The architectures themselves: each predictor has features of its own."""
        return archs.astype(np.float64)

    def fit_model(
        self,
        x: Float[np.ndarray, "n k"],
        y: Float64[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
    ) -> AutoModel:
        """Fit all, and keep the one whose estimates of unseen labels are in the best order."""
        archs = x.astype(np.int64)
        process = self._process.fit_model(self._process.features(archs), y, groups)
        trees = self._trees.fit_model(self._trees.features(archs), y, groups)
        onehot = self._ridge.features(archs)
        found = {
            self._process: (process, process.unseen_kendall + _MARGIN),
            self._trees: (trees, trees.unseen_kendall),
            self._ridge: (fit_ridge(onehot, y), self._unseen_ridge(onehot, y, groups)),
        }
        best = max(found, key=lambda predictor: found[predictor][1])
        return AutoModel(best, found[best][0])

    def _unseen_ridge(
        self,
        x: Float[np.ndarray, "n f"],
        y: Float64[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
    ) -> float:
        """Kendall's tau of ridge on folds of the labels that it did not see."""
        fold = folds(groups, _FOLDS, self.seed)
        mean = np.empty(len(y))
        for i in range(_FOLDS):
            out = fold == i
            mean[out] = fit_ridge(x[~out], y[~out]).mean(x[out])
        return kendall_tau(y, mean)

    def read_model(self, arrays: Mapping[str, np.ndarray]) -> AutoModel:
        """The model of stored arrays."""
        own = dict(arrays)
        name = str(own.pop("chosen"))
        chosen = next(p for p in (self._process, self._trees, self._ridge) if p.type == name)
        return AutoModel(chosen, chosen.read_model(own))
