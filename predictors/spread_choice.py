"""Which networks to measure: those after which the least is left to doubt about all others."""

import numpy as np
from jaxtyping import Float, Int

# Variance of the free constant, whose size is not known.
_CONSTANT = 10.0


def v_optimal(
    x: Float[np.ndarray, "n f"],
    candidates: Int[np.ndarray, " c"],
    reference: Int[np.ndarray, " r"],
    count: int,
    noise: float,
) -> Int[np.ndarray, " count"]:
    """Greedy V-optimal design: each choice lessens the mean posterior variance the most.

    The model is Bayesian linear regression, weights standard normal, so `x` carries the scale of
    each feature (Pukelsheim, "Optimal Design of Experiments", 2006, §9.8, calls it I-optimal).

    Args:
        x: features of all networks.
        candidates: rows that may be measured.
        reference: rows over which the variance is averaged.
        count: how many to choose; no row twice, at most as many as there are candidates.
        noise: variance of a label's noise.

    Returns:
        Rows, the most telling first.
    """
    x = np.hstack([x, np.full((len(x), 1), _CONSTANT)])
    around = x[reference]
    moment = around.T @ around / len(reference)
    covariance = np.eye(x.shape[1])
    free = x[candidates]
    chosen: list[int] = []
    for _ in range(min(count, len(candidates))):
        spread = free @ covariance
        variance = noise + (spread * free).sum(1)
        gain = ((spread @ moment) * spread).sum(1) / variance
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        covariance = covariance - np.outer(spread[best], spread[best]) / variance[best]
    return candidates[chosen]
