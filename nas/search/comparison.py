"""Statistics for comparisons of searches over many seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

_RESAMPLES = 2000


def bootstrap_interval(values: Float[np.ndarray, " s"], seed: int = 0) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of the mean."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def figures(values: Float[np.ndarray, " s"]) -> dict[str, float | int]:
    """What a table tells of a value a seed: mean, spread and the ends of the bootstrap interval."""
    low, high = bootstrap_interval(values)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "seeds": len(values),
        "low": low,
        "high": high,
    }


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values (Holm 1979): the probability of any false claim is at most the level."""
    adjusted, worst = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[name]))
        adjusted[name] = worst
    return adjusted


def better(
    ours: Float[np.ndarray, " s"], others: Mapping[str, Float[np.ndarray, " s"]]
) -> dict[str, float]:
    """Holm-adjusted one-sided p-values that ours is larger, paired by seed (Wilcoxon).

    Seeds beyond those that both have are left out.
    """
    p = {}
    for name, values in others.items():
        n = min(len(ours), len(values))
        difference = ours[:n] - values[:n]
        # Where all agree there is nothing to rank.
        ranked: Any = wilcoxon(difference, alternative="greater") if difference.any() else None
        p[name] = float(ranked.pvalue) if ranked else 1.0
    return holm(p)
