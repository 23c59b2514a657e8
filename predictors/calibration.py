"""Honest spread: scaled so that 90 % of unseen labels fall in the 90 % interval."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from hw_profiles.intervals import Z_90, quantile_90

# Shares of the variance that may follow the members' disagreement. The rest is the same everywhere;
# neither part is ever 0, since disagreement is what tells unfamiliar architectures apart.
_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Spread:
    """How the spread follows from the disagreement of models.

    Args:
        share: share of the variance that follows the disagreement.
        typical: mean disagreement (variance) on the labels, of models that did not see them.
        scale: factor that makes the central 90 % interval hold 90 % of unseen labels.
        least: lower limit.
    """

    share: float
    typical: float
    scale: float
    least: float

    def std(self, disagreement: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Calibrated spread."""
        variance = _mix(disagreement, self.typical, self.share)
        return np.maximum(self.scale * np.sqrt(variance), self.least)


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


def fit_spread(
    residuals: Float64[np.ndarray, " n"], disagreement: Float64[np.ndarray, " n"], least: float
) -> Spread:
    """The spread that explains residuals best, scaled to hold 90 % of them.

    Args:
        residuals: label minus estimate, of models that did not see the label.
        disagreement: of the same models (variance).
        least: lower limit of the spread, positive.
    """
    # Models never agree to the last bit, but a limit above 0 costs nothing.
    typical = max(float(disagreement.mean()), least**2)

    def misfit(share: float) -> float:
        """Gaussian negative log-likelihood at the best scale, but for constants."""
        variance = _mix(disagreement, typical, share)
        total = max(float(np.mean(residuals**2 / variance)), least**2)
        return float(np.mean(np.log(variance)) + np.log(total))

    share = min(_SHARES, key=misfit)
    scale = scale_90(residuals, np.sqrt(_mix(disagreement, typical, share)))
    return Spread(share, typical, scale, least)


def _mix(
    disagreement: Float64[np.ndarray, " n"], typical: float, share: float
) -> Float64[np.ndarray, " n"]:
    return (1 - share) * typical + share * disagreement
