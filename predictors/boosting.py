"""Gradient-boosted trees on the descriptors: for metrics that jump, once there are many labels.

Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 2001,
in scikit-learn's histogram form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int
from threadpoolctl import threadpool_limits

from predictors.base import Prediction
from predictors.calibration import least_std, scale_90
from predictors.descriptors import descriptors_of
from predictors.feature_predictor import FeaturePredictor
from predictors.labels import folds
from predictors.metrics import kendall_tau
from search_spaces.space import Archs

_FOLDS = 5


@dataclass(frozen=True)
class BoostedModel:
    """Boosted trees, with the labels that they follow from.

    Args:
        x: features of the labelled rows.
        y: their labels.
        std: spread of unseen labels around the estimates.
        trees: fitted to these labels.
        unseen_kendall: Kendall's tau on folds of the labels that the trees did not see.
    """

    x: Float[np.ndarray, "n f"]
    y: Float64[np.ndarray, " n"]
    std: float
    trees: Any
    unseen_kendall: float

    def predict(self, x: Float[np.ndarray, "q f"]) -> Prediction:
        """Estimates for rows of features; the spread is the same everywhere."""
        mean = self.trees.predict(x) if len(x) else np.zeros(0)
        return Prediction(mean, np.full(len(x), self.std))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild the model: the same labels give the same trees."""
        numbers = {"std": self.std, "unseen_kendall": self.unseen_kendall}
        return {"x": self.x, "y": self.y, **{k: np.array(v) for k, v in numbers.items()}}


class Boosting(FeaturePredictor[BoostedModel]):
    """Gradient-boosted trees on the descriptors, with one spread for all architectures.

    Args:
        space: where the architectures come from; it must draw its networks.
        seed: of the held-out choice and of the folds.
        macs: MACs of architectures, for the baseline in the report.
        holdout: share of the labelled architectures that only the report's models don't see.
        extra: further features.
    """

    type = "boosting"
    sees_extra = True

    def features(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        """The descriptors as they are: trees don't mind units."""
        described = descriptors_of(self.space)(archs)
        if self.extra is None:
            return described
        return np.concatenate([described, self.extra(archs)], axis=1)

    def fit_model(
        self,
        x: Float[np.ndarray, "n f"],
        y: Float64[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
    ) -> BoostedModel:
        """Boost on all labels; the spread is that of labels in folds that trees did not see."""
        fold = folds(groups, _FOLDS, self.seed)
        unseen = np.empty(len(y))
        for i in range(_FOLDS):
            out = fold == i
            unseen[out] = _boost(x[~out], y[~out]).predict(x[out])
        std = max(scale_90(y - unseen, np.ones(len(y))), least_std(y))
        return BoostedModel(x, y, std, _boost(x, y), kendall_tau(y, unseen))

    def read_model(self, arrays: Mapping[str, np.ndarray]) -> BoostedModel:
        """The model of stored arrays."""
        x, y = arrays["x"], arrays["y"]
        std, kendall = arrays["std"].item(), arrays["unseen_kendall"].item()
        return BoostedModel(x, y, std, _boost(x, y), kendall)


def _boost(x: Float[np.ndarray, "n f"], y: Float64[np.ndarray, " n"]) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        learning_rate=0.1,
        max_iter=100,
        max_leaf_nodes=8,
        min_samples_leaf=4,
        l2_regularization=1.0,
        early_stopping=False,  # pyright: ignore[reportArgumentType] (a wrong stub)
        random_state=0,
    )
    # Threads that wait for one another cost more than so few labels take.
    with threadpool_limits(1):
        return model.fit(x, y)
