"""Honest spread: scaled so that 90 % of unseen labels fall in the 90 % interval."""

import numpy as np
from jaxtyping import Float, Float64

from hw_profiles.intervals import Z_90, quantile_90


def scale_90(residuals: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]) -> float:
    """Factor on `std` for which the central 90 % interval holds 90 % of new labels.

    Args:
        residuals: label minus estimate, of models that did not see the label.
        std: uncalibrated spread of the same estimates, positive.
    """
    return quantile_90(np.abs(residuals) / std) / Z_90


def least_std(y: Float64[np.ndarray, " n"]) -> float:
    """Smallest spread worth stating: labels that are all alike still leave a positive one."""
    return 1e-6 * max(float(np.abs(y).max()), 1e-6)
