"""The mathematics of ridge regression: closed form, leave-one-out penalty, spread by leverage."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors.base import Prediction
from predictors.calibration import least_std, scale_90

Vector = Float64[np.ndarray, "..."]

# Features are 0 or 1, so penalties from "almost none" to "a thousand labels' worth" cover all.
_PENALTIES = np.logspace(-3, 4, 29)


@dataclass(frozen=True)
class RidgeModel:
    """A fitted ridge regression.

    Args:
        center: mean of each feature.
        offset: mean label.
        weights: a coefficient a feature.
        root: `root @ root.T` is the inverse of the penalised Gram matrix.
        n: number of labels.
        scale: spread of a label around the estimate where leverage is 0.
        least_std: lower limit of the spread.
    """

    center: Float64[np.ndarray, " f"]
    offset: Float64[np.ndarray, ""]
    weights: Float64[np.ndarray, " f"]
    root: Float64[np.ndarray, "f f"]
    n: Int[np.ndarray, ""]
    scale: Float64[np.ndarray, ""]
    least_std: Float64[np.ndarray, ""]

    def mean(self, x: Float[np.ndarray, "n f"]) -> Float64[np.ndarray, " n"]:
        """Estimates alone, without the dearer spread."""
        return (x - self.center[None, :]) @ self.weights + self.offset

    def predict(self, x: Float[np.ndarray, "n f"]) -> Prediction:
        """Estimates and their spread, which grows with the distance from the labelled features."""
        z = x - self.center[None, :]
        leverage = np.square(z @ self.root).sum(1) + 1 / self.n
        std = np.maximum(self.scale * np.sqrt(1 + leverage), self.least_std)
        return Prediction(z @ self.weights + self.offset, std)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild the model."""
        return asdict(self)


def fit_ridge(x: Float[np.ndarray, "n f"], y: Float64[np.ndarray, " n"]) -> RidgeModel:
    """Ridge with the penalty of least leave-one-out error, in closed form.

    With leverage `h` the residual of a label left out is `e / (1 - h)` (Allen's PRESS), so all
    penalties cost one eigendecomposition. The spread is that of Bayesian linear regression,
    `scale * sqrt(1 + leverage)`, with `scale` calibrated on the leave-one-out residuals.

    Args:
        x: features, about 0 to 1.
        y: labels.
    """
    center, offset = x.mean(0, dtype=np.float64), y.mean()
    z, t = x - center[None, :], y - offset
    eigenvalues, basis = np.linalg.eigh(z.T @ z)
    eigenvalues = np.maximum(eigenvalues, 0)
    scores = z @ basis

    def leave_out(penalty: float) -> tuple[Vector, Vector, Vector]:
        """What the penalty leaves of each direction, `1 - h` and the residual of each label."""
        shrink = 1 / (eigenvalues + penalty)
        # Below 0 only by rounding, and a label that decides its own fit says nothing.
        free = np.maximum(1 - np.square(scores) @ shrink - 1 / len(y), 1e-6)
        return shrink, free, (t - scores @ (shrink * (scores.T @ t))) / free

    fits = [leave_out(penalty) for penalty in _PENALTIES]
    shrink, free, left_out = min(fits, key=lambda fit: float(np.mean(fit[2] ** 2)))
    return RidgeModel(
        center=center,
        offset=np.array(offset),
        weights=basis @ (shrink * (scores.T @ t)),
        root=basis * np.sqrt(shrink)[None, :],
        n=np.array(len(y)),
        # 1 + leverage of a left-out row is 1 / (1 - h).
        scale=np.array(scale_90(left_out, 1 / np.sqrt(free))),
        least_std=np.array(least_std(y)),
    )
