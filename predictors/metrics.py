"""How good estimates are: order, distance and honesty of the spread."""

import numpy as np
from jaxtyping import Float

from hw_profiles.intervals import Z_90

Labels = Float[np.ndarray, " n"]


def kendall_tau(y: Labels, estimate: Labels) -> float:
    """Kendall's tau-b in [-1, 1], O(n log n); 0 where either side is constant."""
    from scipy.stats import kendalltau

    return _correlation(kendalltau, y, estimate)


def spearman(y: Labels, estimate: Labels) -> float:
    """Spearman's rank correlation in [-1, 1]; 0 where either side is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, y, estimate)


def rmse(y: Labels, estimate: Labels) -> float:
    """Root mean squared error, in the units of the labels."""
    return float(np.sqrt(np.mean((y - estimate) ** 2)))


def within(y: Labels, estimate: Labels, tolerance: float) -> float:
    """Share of estimates no further than `tolerance * |y|` from the label."""
    return float(np.mean(np.abs(y - estimate) <= tolerance * np.abs(y)))


def coverage(y: Labels, mean: Labels, std: Labels) -> float:
    """Share of labels inside the central 90 % interval `mean +- 1.645 std`."""
    return float(np.mean(np.abs(y - mean) <= Z_90 * std))


def half_width(std: Labels) -> float:
    """Mean half-width of the central 90 % intervals: of two that hold as much, less is better."""
    return float(np.mean(Z_90 * std))


def regret(y: Labels, estimate: Labels, top: int) -> float:
    """How far the best label among the `top` highest estimates lies below the best of all."""
    chosen = np.argsort(-estimate, kind="stable")[:top]
    return float(y.max() - y[chosen].max())


def _correlation(statistic, y: Labels, estimate: Labels) -> float:
    if np.all(y == y[0]) or np.all(estimate == estimate[0]):
        return 0.0
    return float(statistic(y, estimate).statistic)
