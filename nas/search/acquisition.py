"""Which candidates are worth evaluating, by samples of what they may be."""

import numpy as np
from jaxtyping import Float, Float64, Int

from nas.pareto import nondominated

# The reference lies this far beyond the worst of the front, relative to its extent.
_BEYOND = 0.1


def reference_of(F: Float[np.ndarray, "n m"]) -> Float64[np.ndarray, " m"]:
    """A corner a little worse than every point of the front of F."""
    front = F[nondominated(F)]
    extent = np.maximum(np.ptp(front, axis=0), 0.1 * np.ptp(F, axis=0))
    return front.max(axis=0) + _BEYOND * np.maximum(extent, 1e-9)


def area_gains(
    F: Float[np.ndarray, "n 2"],
    front: Float[np.ndarray, "p 2"],
    reference: Float[np.ndarray, " 2"],
) -> Float64[np.ndarray, " n"]:
    """How much each point alone would add to the area that a front dominates.

    Args:
        F: points.
        front: of two objectives, minimised; dominated points change nothing.
        reference: the worst corner.
    """
    front = np.minimum(front, reference[None, :])
    front = front[np.lexsort((front[:, 1], front[:, 0]))]
    edges = np.concatenate([[-np.inf], front[:, 0], reference[:1]])
    ceiling = np.minimum.accumulate(np.concatenate([reference[1:], front[:, 1]]))
    left = np.maximum(edges[None, :-1], F[:, :1])
    width = np.maximum(edges[None, 1:] - left, 0.0)
    height = np.maximum(ceiling[None, :] - F[:, 1:], 0.0)
    return (width * height).sum(axis=1)


def tchebycheff(
    F: Float[np.ndarray, "n m"], weights: Float[np.ndarray, " m"]
) -> Float64[np.ndarray, " n"]:
    """Augmented Tchebycheff scalarisation of objectives scaled to [0, 1] (Knowles 2006, eq. 2)."""
    weighted = F * weights[None, :]
    return weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)


def choose(
    rng: np.random.Generator,
    draws: Float[np.ndarray, "s n m"],
    known: Float[np.ndarray, "t m"],
) -> Int[np.ndarray, " chosen"]:
    """A candidate for each sample of all candidates, the ones before it taken as known.

    With one objective the best of a sample (Thompson sampling), with two the one that adds most to
    the area of the front (Bradford, Schweidtmann, Lapkin, "Efficient multiobjective optimization
    employing Gaussian processes, spectral sampling and a genetic algorithm", 2018), with more the
    best by random weights.

    Args:
        rng: of the weights.
        draws: samples of the objectives of `n` candidates.
        known: objectives of what was evaluated.

    Returns:
        Distinct candidates, at most as many as there are.
    """
    _, n, m = draws.shape
    free = np.ones(n, bool)
    chosen = []
    for sample in draws[: min(len(draws), n)]:
        if m == 1:
            loss = sample[:, 0]
        elif m == 2:
            loss = -area_gains(sample, known[nondominated(known)], reference_of(known))
            if not (loss[free] < 0).any():
                loss = sample @ rng.dirichlet(np.ones(m))
        else:
            low, extent = known.min(axis=0), np.maximum(np.ptp(known, axis=0), 1e-9)
            scaled = (sample - low[None, :]) / extent[None, :]
            loss = tchebycheff(scaled, rng.dirichlet(np.ones(m)))
        best = int(np.argmin(np.where(free, loss, np.inf)))
        free[best] = False
        chosen.append(best)
        known = np.concatenate([known, sample[[best]]])
    return np.array(chosen, np.int64)
