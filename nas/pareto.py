"""Pareto dominance, fronts and hypervolume. All objectives are minimised, `G <= 0` is feasible.

`i` dominates `j` where `F[i] <= F[j]` in every objective and `F[i] != F[j]`; so exact duplicates
never dominate each other, and either all of them are on a front or none is.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

_CHUNK = 256


def nondominated(
    F: Float[np.ndarray, "n m"], G: Float[np.ndarray, "n c"] | None = None
) -> Bool[np.ndarray, " n"]:
    """Mask of the feasible points that no feasible point dominates.

    O(n log n) for two objectives, O(n * front) for more.

    Args:
        F: objectives, minimised.
        G: constraints, feasible where all are <= 0; None: all points are feasible.

    Returns:
        The mask; all duplicates of a point on the front are in it. All False where no point is
        feasible.

    Raises:
        ValueError: F or G has NaN.

    Example:
        >>> nondominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])).tolist()
        [True, True, False]
    """
    _refuse_nan(F, G)
    rows = np.flatnonzero(total_violation(G) == 0) if G is not None else np.arange(len(F))
    out = np.zeros(len(F), bool)
    points, group = _distinct(F[rows])
    out[rows] = _front_of_sorted(points)[group]
    return out


def nondominated_sort(
    F: Float[np.ndarray, "n m"],
    G: Float[np.ndarray, "n c"] | None = None,
    enough: int | None = None,
) -> Int[np.ndarray, " n"]:
    """Rank of each point by constrained domination: 0 is the best front.

    Feasible points come first, in fronts; then the infeasible ones by their total violation, equal
    violations sharing a rank (Deb et al. 2002, definition 1).

    Args:
        F: objectives, minimised.
        G: constraints, feasible where all are <= 0; None: all points are feasible.
        enough: feasible points that have to be told apart at least: those beyond the front that
            completes this number share one rank.

    Returns:
        Ranks without gaps.

    Raises:
        ValueError: F or G has NaN.
    """
    _refuse_nan(F, G)
    enough = len(F) if enough is None else enough
    violation = total_violation(G) if G is not None else np.zeros(len(F))
    feasible = violation == 0
    if feasible.all():
        return _ranks(F, enough)
    ranks = np.zeros(len(F), np.int64)
    ranks[feasible] = _ranks(F[feasible], enough)
    n_fronts = ranks[feasible].max() + 1 if feasible.any() else 0
    ranks[~feasible] = n_fronts + np.unique(violation[~feasible], return_inverse=True)[1]
    return ranks


def total_violation(G: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """Sum of the violated constraints of each point, 0 where it is feasible."""
    return np.maximum(G, 0).sum(axis=1)


def crowding_distance(
    F: Float[np.ndarray, "n m"], ranks: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """How far apart the neighbours of each point on its front are (Deb et al. 2002, §III-B).

    Args:
        F: finite objectives.
        ranks: the front of each point; None: all are on one.

    Returns:
        The sum over objectives of the gap between the neighbours, relative to the extent of the
        front; infinite for the ends of a front.
    """
    n = len(F)
    out = np.zeros(n)
    if n == 0:
        return out
    ranks = np.zeros(n, np.int64) if ranks is None else ranks
    front = np.sort(ranks)
    starts = np.flatnonzero(np.append(True, front[1:] != front[:-1]))
    ends = np.append(starts[1:], n) - 1
    sizes = ends - starts + 1
    for column in F.T:
        order = by_front(ranks, column)
        value = column[order]
        extent = np.repeat(value[ends] - value[starts], sizes)
        gap = np.zeros(n)
        np.divide(value[2:] - value[:-2], extent[1:-1], out=gap[1:-1], where=extent[1:-1] > 0)
        gap[starts] = gap[ends] = np.inf
        out[order] += gap
    return out


def by_front(
    ranks: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Stable order by front, then by value: `np.lexsort((values, ranks))`, but faster."""
    order = np.argsort(values, kind="stable")
    # Numbers of 16 bits are sorted by their digits.
    narrow = ranks.astype(np.min_scalar_type(len(ranks)))
    return order[np.argsort(narrow[order], kind="stable")]


def hypervolume(F: Float[np.ndarray, "n m"], reference: Float[np.ndarray, " m"]) -> float:
    """Exact volume dominated by the points within the box that ends at the reference.

    Beyond three objectives by moocore, whose time grows steeply with their number: 500 points take
    milliseconds in five and .4 s in six.

    Args:
        F: objectives, minimised; dominated points change nothing.
        reference: the worst corner; points that are not better than it in all objectives are left
            out.

    Returns:
        The volume, in the product of the objectives' units.

    Raises:
        ValueError: F has NaN.

    Example:
        >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
        3.0
    """
    m = F.shape[1]
    _refuse_nan(F, None)
    F = F[(reference[None, :] > F).all(axis=1)]
    F = F[nondominated(F)]
    if not len(F):
        return 0.0
    if m == 1:
        return float(reference[0] - F.min())
    if m > 3:
        import moocore

        return float(moocore.hypervolume(F, ref=reference))
    F = F[np.argsort(F[:, 0], kind="stable")]
    if m == 2:
        return _area(F[:, 0], F[:, 1], reference)
    levels = np.unique(F[:, 2])
    depths = np.diff(np.append(levels, reference[2]))
    below = (F[F[:, 2] <= level] for level in levels)
    areas = (_area(slab[:, 0], slab[:, 1], reference[:2]) for slab in below)
    return float(sum(a * d for a, d in zip(areas, depths, strict=True)))


def mean_hypervolume(
    F: Float[np.ndarray, "n m"],
    reference: Float[np.ndarray, " m"],
    views: Iterable[Sequence[int]],
) -> float:
    """Mean of the hypervolumes in some of the objectives: a run for several devices has one each.

    Args:
        F: objectives, minimised.
        reference: the worst corner.
        views: positions of objectives.
    """
    return float(np.mean([hypervolume(F[:, list(v)], reference[list(v)]) for v in views]))


def _refuse_nan(F: np.ndarray, G: np.ndarray | None) -> None:
    for name, matrix in (("F", F), ("G", G)):
        if matrix is not None and np.isnan(matrix).any():
            row = np.flatnonzero(np.isnan(matrix).any(axis=1))[0]
            raise ValueError(f"{name} has NaN in row {row}: leave failed evaluations out")


def _front_of_sorted(points: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " n"]:
    """Mask of the front of distinct rows in lexicographic order: dominators always come first."""
    n, m = points.shape
    keep = np.ones(n, bool)
    if m == 2:
        keep[1:] = points[1:, 1] < np.minimum.accumulate(points[:-1, 1])
        return keep
    front = points[:0]
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n))
        rows = rows[~_weakly_dominates(front, points[rows]).any(axis=0)]
        chunk = points[rows]
        within = _weakly_dominates(chunk, chunk)
        np.fill_diagonal(within, False)
        alive = ~within.any(axis=0)
        keep[start : start + _CHUNK] = False
        keep[rows[alive]] = True
        front = np.concatenate([front, chunk[alive]])
    return keep


def _weakly_dominates(
    A: Float[np.ndarray, "a m"], B: Float[np.ndarray, "b m"]
) -> Bool[np.ndarray, "a b"]:
    out = np.ones((len(A), len(B)), bool)
    for j in range(A.shape[1]):
        out &= A[:, j, None] <= B[None, :, j]
    return out


def _distinct(
    F: Float[np.ndarray, "n m"],
) -> tuple[Float[np.ndarray, "d m"], Int[np.ndarray, " n"]]:
    """Distinct rows in lexicographic order, and for each row of F which of them it is."""
    group = np.zeros(len(F), np.int64)
    order = np.argsort(F[:, 0])
    leading = F[order, 0]
    if (leading[1:] != leading[:-1]).all():
        group[order] = np.arange(len(F))
        return F[order], group
    order = np.lexsort(F.T[::-1])
    points = F[order]
    first = np.ones(len(F), bool)
    first[1:] = (points[1:] != points[:-1]).any(axis=1)
    group[order] = np.cumsum(first) - 1
    return points[first], group


def _ranks(F: Float[np.ndarray, "n m"], enough: int) -> Int[np.ndarray, " n"]:
    """Ranks of feasible points, peeled off front by front until there are enough."""
    points, group = _distinct(F)
    if F.shape[1] == 2:
        return _ranks_of_two(points[:, 1].copy(), enough)[group]
    ranks, left = np.zeros(len(points), np.int64), np.arange(len(points))
    while len(left) and len(ranks) - len(left) < enough:
        front = _front_of_sorted(points)
        left, points = left[~front], points[~front]
        ranks[left] += 1
    return ranks[group]


def _ranks_of_two(second: Float[np.ndarray, " n"], enough: int) -> Int[np.ndarray, " n"]:
    """The same for two objectives, the second of distinct points in order of the first."""
    ranks, left = np.zeros(len(second), np.int64), np.arange(len(second))
    while len(left) and len(ranks) - len(left) < enough:
        beaten = 1 + np.flatnonzero(second[1:] >= np.minimum.accumulate(second)[:-1])
        left, second = left[beaten], second[beaten]
        ranks[left] += 1
    return ranks


def _area(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], reference: Float[np.ndarray, "2"]
) -> float:
    """Area dominated by points in ascending order of x."""
    lowest = np.minimum.accumulate(np.concatenate([reference[1:], y]))
    return float(np.sum((reference[0] - x) * -np.diff(lowest)))
