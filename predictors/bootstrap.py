"""How far a figure would move with other networks to test on: bootstrap intervals.

Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, §13.3 (percentile interval). A
resample is a row that counts how often each tested network is drawn, so that every figure of all
resamples is a few products of matrices. Resamples of the same seed and size are the same, which
makes differences between predictors paired.
"""

import numpy as np
from jaxtyping import Float, Float32

from hw_profiles.intervals import Z_90
from predictors import metrics
from predictors.metrics import Labels

RESAMPLES = 1000
# Pairs are laid out for so many networks; of more, a random part gives the spread.
_MOST_PAIRED = 1500

Counts = Float32[np.ndarray, "r n"]
Figures = Float[np.ndarray, " r"]
Interval = tuple[float, float]


def resamples(n: int, seed: int = 0, count: int = RESAMPLES) -> Counts:
    """How often each of `n` networks is drawn, a row a resample."""
    drawn = np.random.default_rng(seed).integers(0, n, (count, n))
    drawn += n * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float32)


def interval_95(values: Figures) -> Interval:
    """Ends of the 95 % percentile interval."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def kendall_tau(y: Labels, estimate: Labels, counts: Counts) -> Figures:
    """Kendall's tau-b of each resample; 0 where either side is constant.

    Of more networks than pairs are laid out for, what a random part strays from its own value is
    scaled to the number there are, and stands around the value of all.
    """
    n = len(y)
    if n > _MOST_PAIRED:
        part = np.random.default_rng(0).choice(n, _MOST_PAIRED, replace=False)
        y, estimate, whole = y[part], estimate[part], metrics.kendall_tau(y, estimate)
        strayed = kendall_tau(y, estimate, resamples(_MOST_PAIRED, count=len(counts)))
        strayed -= metrics.kendall_tau(y, estimate)
        return np.clip(whole + strayed * (_MOST_PAIRED / n) ** 0.5, -1, 1)
    first, second = (np.sign(v[:, None] - v[None, :]).astype(np.float32) for v in (y, estimate))
    agreed, *untied = (
        np.einsum("rn,rn->r", counts @ pairs, counts, dtype=np.float64)
        for pairs in (first * second, np.abs(first), np.abs(second))
    )
    return _ratio(agreed, np.sqrt(untied[0] * untied[1]))


def spearman(y: Labels, estimate: Labels, counts: Counts) -> Figures:
    """Spearman's rank correlation of each resample; 0 where either side is constant."""
    first, second = _centred_ranks(y, counts), _centred_ranks(estimate, counts)
    covariance = (counts * first * second).sum(1)
    power = (counts * first**2).sum(1) * (counts * second**2).sum(1)
    return _ratio(covariance, np.sqrt(power))


def means(values: Float[np.ndarray, " n"], counts: Counts) -> Figures:
    """Mean of each resample, of what is a mean over networks."""
    return counts @ values.astype(np.float64) / len(values)


def regret(y: Labels, estimate: Labels, top: int, counts: Counts) -> Figures:
    """Regret of the `top` highest estimates of each resample."""
    order = np.argsort(-estimate, kind="stable")
    drawn = counts[:, order]
    before = np.cumsum(drawn, axis=1) - drawn
    best = np.where(drawn > 0, y[order][None, :], -np.inf)
    return best.max(1) - np.where(before < top, best, -np.inf).max(1)


def figures(y: Labels, mean: Labels, std: Labels, top: int, counts: Counts) -> dict[str, Figures]:
    """All figures of `report.Scores` in every resample, by name."""
    error = np.abs(y - mean)
    shares = {
        "within_5pct": error <= 0.05 * np.abs(y),
        "within_10pct": error <= 0.10 * np.abs(y),
        "coverage_90": error <= Z_90 * std,
        "half_width_90": Z_90 * std,
    }
    return {
        "kendall": kendall_tau(y, mean, counts),
        "spearman": spearman(y, mean, counts),
        "rmse": np.sqrt(means(error**2, counts)),
        **{name: means(np.asarray(values, float), counts) for name, values in shares.items()},
        f"regret_top{top}": regret(y, mean, top, counts),
    }


def _centred_ranks(values: Labels, counts: Counts) -> Float[np.ndarray, "r n"]:
    """Rank of each network's value in every resample, ties at their middle, around zero."""
    _, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(level.max() + 1))
    drawn = np.add.reduceat(counts[:, order].astype(np.float64), starts, axis=1)
    middle = np.cumsum(drawn, axis=1) - drawn / 2 - len(values) / 2
    return middle[:, level]


def _ratio(above: Figures, below: Figures) -> Figures:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
