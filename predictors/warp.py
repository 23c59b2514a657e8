"""Scales on which labels are fitted, and the way back: their own, or normal scores of ranks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from predictors.base import Prediction

Vector = Float64[np.ndarray, " n"]

# More knots would follow the noise of single labels.
_KNOTS = 40
# Share of the labels at each end from which the scale is continued.
_END = 0.1
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)


@dataclass(frozen=True)
class Warp:
    """A rising, piecewise linear function from scores to labels.

    Args:
        scores: of the knots, rising.
        labels: of the knots, rising.
    """

    scores: Float64[np.ndarray, " k"]
    labels: Float64[np.ndarray, " k"]

    def to_label(self, score: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        """Labels of scores; beyond the knots the ends are continued."""
        inside = np.interp(score, self.scores, self.labels)
        low = np.minimum(score - self.scores[0], 0) * self._slope(_END)
        high = np.maximum(score - self.scores[-1], 0) * self._slope(1 - _END)
        return inside + low + high

    def to_label_units(self, mean: Vector, std: Vector) -> Prediction:
        """Mean and standard deviation of the label of a normally distributed score."""
        weights = _WEIGHTS / _WEIGHTS.sum()
        labels = np.stack([self.to_label(mean + node * std) for node in _NODES])
        center = weights @ labels
        variance = weights @ np.square(labels - center[None, :])
        return Prediction(center, np.sqrt(variance))

    def _slope(self, share: float) -> float:
        """Labels a score between the nearer end and the quantile of a share."""
        end = 0 if share < 0.5 else -1
        score = np.quantile(self.scores, share)
        label = np.interp(score, self.scores, self.labels)
        return float((label - self.labels[end]) / (score - self.scores[end]))


def linear_warp(y: Vector) -> tuple[Warp, Vector]:
    """The labels' own scale, standardised where they differ, and their scores on it."""
    center, unit = y.mean(), y.std() or 1.0
    ends = np.array([-1.0, 1.0])
    return Warp(ends, center + unit * ends), (y - center) / unit


def normal_scores(y: Vector) -> Vector:
    """Ranks as quantiles of the normal distribution, of unit variance: outliers and plateaus lose
    their weight; labels that are all alike are 0.
    """
    from scipy.stats import norm, rankdata

    scores = norm.ppf((rankdata(y) - 0.5) / len(y))
    return scores / (scores.std() or 1.0)


def rank_warp(y: Vector) -> tuple[Warp, Vector]:
    """The normal scores of the labels' ranks; equal labels have equal scores."""
    if np.all(y == y[0]):
        return linear_warp(y)
    scores = normal_scores(y)
    values, first = np.unique(y, return_index=True)
    own = scores[first]
    if len(values) > _KNOTS:
        knots = np.linspace(own[0], own[-1], _KNOTS)
        return Warp(knots, np.interp(knots, own, values)), scores
    return Warp(own, values), scores


FitScale = Callable[[Vector], tuple[Warp, Vector]]
