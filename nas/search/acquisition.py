"""Which candidates are worth evaluating, by samples of what they may be."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from nas.pareto import nondominated
from nas.search.models import Features, Fitted

# The reference lies this far beyond the worst of the front, relative to its extent.
_BEYOND = 0.1
# Candidates of a batch that are chosen one by one.
_IN_TURN = 16
# Joint samples: as many as the work (times candidates, times slices of the front) leaves time for.
_FEWEST, _MOST, _WORK = 8, 64, 4_000_000


def reference_of(F: Float[np.ndarray, "n m"]) -> Float64[np.ndarray, " m"]:
    """A corner a little worse than every point of the front of F."""
    front = F[nondominated(F)]
    extent = np.maximum(np.ptp(front, axis=0), 0.1 * np.ptp(F, axis=0))
    return front.max(axis=0) + _BEYOND * np.maximum(extent, 1e-9)


def volume_gains(
    F: Float[np.ndarray, "*s n m"],
    front: Float[np.ndarray, "*z p m"],
    reference: Float[np.ndarray, " m"],
) -> Float64[np.ndarray, "*s n"]:
    """How much each point alone would add to the volume that a front dominates.

    Of three and more objectives slice by slice along the last one, each a front of the others: the
    time grows by the size of the front with each of them.

    Args:
        F: points, of one sample or of several.
        front: objectives, minimised; dominated points change nothing. Of each sample, or one for
            all.
        reference: the worst corner.
    """
    m = len(reference)
    if m == 1:
        best = np.minimum(front.min(axis=-2, initial=np.inf), reference)
        return np.maximum(best - F[..., 0], 0.0)
    if m == 2:
        return _area_gains(F, front, reference)
    front = np.take_along_axis(front, np.argsort(front[..., -1], axis=-1)[..., None], axis=-2)
    front = np.minimum(front, np.append(np.full(m - 1, np.inf), reference[-1]))
    total = np.zeros(F.shape[:-1])
    for i in range(front.shape[-2] + 1):
        bottom = F[..., -1] if not i else np.maximum(F[..., -1], front[..., i - 1, -1:])
        top = reference[-1:] if i == front.shape[-2] else front[..., i, -1:]
        base = volume_gains(F[..., :-1], front[..., :i, :-1], reference[:-1])
        total += base * np.maximum(top - bottom, 0.0)
    return total


def _area_gains(
    F: Float[np.ndarray, "*s n 2"],
    front: Float[np.ndarray, "*z p 2"],
    reference: Float[np.ndarray, " 2"],
) -> Float64[np.ndarray, "*s n"]:
    front = np.minimum(front, reference)
    order = np.lexsort((front[..., 1], front[..., 0]))
    front = np.take_along_axis(front, order[..., None], axis=-2)
    ends = np.broadcast_to(reference, (*front.shape[:-2], 1, 2))
    edges = np.concatenate([np.full_like(ends, -np.inf), front, ends], axis=-2)[..., 0]
    ceiling = np.minimum.accumulate(np.concatenate([ends, front], axis=-2)[..., 1], axis=-1)
    left = np.maximum(edges[..., None, :-1], F[..., :1])
    width = np.maximum(edges[..., None, 1:] - left, 0.0)
    height = np.maximum(ceiling[..., None, :] - F[..., 1:], 0.0)
    return (width * height).sum(axis=-1)


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
            loss = -volume_gains(sample, known[nondominated(known)], reference_of(known))
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


def expected_gains(
    draws: Float[np.ndarray, "s n m"],
    feasible: Bool[np.ndarray, "s n"],
    known: Float[np.ndarray, "t m"],
    wanted: int,
) -> Int[np.ndarray, " chosen"]:
    """Candidates that add most to the front's volume on average, one after the other.

    The expectation over joint samples is that of Daulton, Balandat, Bakshy (2020); each candidate
    is chosen given the samples of those before it. Of a large batch the last ones follow by their
    gains beside the first.

    Args:
        draws: samples of the objectives of `n` candidates.
        feasible: samples that count.
        known: objectives of what was evaluated.
        wanted: how many.

    Returns:
        Distinct candidates, at most as many as there are.
    """
    s, n, m = draws.shape
    reference = reference_of(known)
    front = np.repeat(known[None, nondominated(known)], s, axis=0)
    free, chosen = np.ones(n, bool), []
    gains = np.zeros(n)
    for _ in range(min(wanted, n, _IN_TURN)):
        gains = np.where(feasible, volume_gains(draws, front, reference), 0.0).mean(axis=0)
        best = int(np.argmax(np.where(free, gains, -1.0)))
        free[best] = False
        chosen.append(best)
        point = np.where(feasible[:, best, None], draws[:, best], reference[None, :])
        front = np.concatenate([front, point.reshape(s, 1, m)], axis=1)
    rest = np.argsort(-gains, kind="stable")
    return np.concatenate([np.array(chosen, np.int64), rest[free[rest]]])[:wanted]


def most_gained(
    rng: np.random.Generator, fitted: Fitted, x: Features, wanted: int
) -> Int[np.ndarray, " chosen"]:
    """Candidates that add most to the front by joint samples of the models.

    While nothing feasible is known, the total violation takes the objectives' place.

    Args:
        rng: of the samples.
        fitted: the models.
        x: features of the candidates, at least one.
        wanted: how many.

    Returns:
        Distinct candidates, at most as many as there are.
    """
    violation = fitted.told.violation
    if not (violation == 0).any():
        known = violation[:, None]
        draws = fitted.drawn_violation(rng, x, _samples(known, len(x)))[:, :, None]
        return expected_gains(draws, np.ones(draws.shape[:2], bool), known, wanted)
    samples = _samples(fitted.known, len(x))
    feasible = fitted.drawn_violation(rng, x, samples) == 0
    return expected_gains(fitted.draws(rng, x, samples), feasible, fitted.known, wanted)


def _samples(known: Float[np.ndarray, "t m"], candidates: int) -> int:
    """As many as there is time for: volumes of many objectives take long."""
    slices = (1 + np.count_nonzero(nondominated(known))) ** (known.shape[1] - 1)
    return int(np.clip(_WORK // (candidates * slices), _FEWEST, _MOST))
