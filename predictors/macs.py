"""The baseline that every predictor has to beat: a line in the logarithm of the MACs."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors.feature_predictor import FeaturePredictor, log_macs
from predictors.ridge_regression import RidgeModel, fit_ridge
from search_spaces.errors import InputError
from search_spaces.space import Archs


class Macs(FeaturePredictor[RidgeModel]):
    """Straight line in log MACs; needs `macs`."""

    type = "macs"

    def features(self, archs: Archs) -> Float[np.ndarray, "n f"]:
        """The logarithm of the MACs, one column."""
        if self.macs is None:
            raise InputError("predictor macs: needs the MACs of architectures; pass macs=")
        return log_macs(self.macs, archs)

    def fit_model(
        self,
        x: Float[np.ndarray, "n f"],
        y: Float64[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
    ) -> RidgeModel:
        """Fit a line: with one feature the penalty is next to nothing."""
        del groups
        return fit_ridge(x, y)

    def read_model(self, arrays: Mapping[str, np.ndarray]) -> RidgeModel:
        """The model of stored arrays."""
        return RidgeModel(**arrays)
