"""Honest spread: scaled so that 90 % of unseen labels fall in the 90 % interval."""

import math

import numpy as np
from jaxtyping import Float, Float64

from predictors.metrics import Z_90


def scale_90(residuals: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]) -> float:
    """Factor on `std` for which the central 90 % interval holds 90 % of new labels.

    The quantile is that of split conformal prediction, with its correction for few residuals (Lei
    et al., "Distribution-Free Predictive Inference for Regression", JASA 2018, §2.2).

    Args:
        residuals: label minus estimate, of models that did not see the label.
        std: uncalibrated spread of the same estimates, positive.
    """
    n = len(residuals)
    rank = min(math.ceil(0.9 * (n + 1)), n)
    return float(np.sort(np.abs(residuals) / std)[rank - 1] / Z_90)


def least_std(y: Float64[np.ndarray, " n"]) -> float:
    """Smallest spread worth stating: labels that are all alike still leave a positive one."""
    return 1e-6 * max(float(np.abs(y).max()), 1e-6)
