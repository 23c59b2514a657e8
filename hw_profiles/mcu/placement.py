"""Placing buffers in as little memory as possible, once it is known which may not overlap.

Two buffers in use at the same time keep a distance, which may differ with which of them lies below:
a kernel that reads ahead of what it writes lets its output start a little below its input, over it
(Blacker, Bridges and Hadfield, "Diagonal Memory Optimisation for Machine Learning on
Micro-controllers", arXiv 2010.01668, 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ROUNDS = 24
# Buffers up to which the exact search has a chance.
_SMALL = 16
_NODES = 20_000


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each buffer starts.

    Args:
        offsets: in bytes, the lowest is 0.
        total: bytes of memory in all.
        optimal: whether no other placement takes less; False where that is not known.
    """

    offsets: tuple[int, ...]
    total: int
    optimal: bool


@dataclass(frozen=True)
class Problem:
    """Buffers and what keeps them apart.

    Args:
        sizes: bytes of each.
        apart: `apart[a][b]`: by how many bytes `b` must start above `a` where it lies above; there
            for both directions of every pair that is in use at the same time.
        bound: bytes that any placement needs.
    """

    sizes: Sequence[int]
    apart: Sequence[Mapping[int, int]]
    bound: int

    def total(self, offsets: Sequence[int]) -> int:
        """Bytes from the lowest start to the highest end."""
        ends = (start + size for start, size in zip(offsets, self.sizes, strict=True))
        return max(ends, default=0) - min(offsets, default=0)


def place(problem: Problem, orders: Sequence[Sequence[int]]) -> Placement:
    """The best placement found: greedy in several orders, then an exact search where they are few.

    Args:
        problem: the buffers.
        orders: orders in which the greedy placement is tried first.
    """
    best = min((_greedy(problem, order) for order in orders), key=problem.total)
    for order in orders:
        if problem.total(best) == problem.bound:
            break
        best = min(best, _improved(problem, list(order)), key=problem.total)
    proven = problem.total(best) == problem.bound
    if not proven and len(problem.sizes) <= _SMALL:
        best, proven = _Exact(problem, best).search()
    lowest = min(best, default=0)
    return Placement(tuple(start - lowest for start in best), problem.total(best), proven)


def _greedy(problem: Problem, order: Sequence[int]) -> list[int]:
    """Each buffer in turn where it makes the whole grow least; below what is there counts too."""
    placed: dict[int, int] = {}
    bottom = top = 0
    for item in order:
        size = problem.sizes[item]
        holes = [
            (placed[other] - distance, placed[other] + problem.apart[other][item])
            for other, distance in problem.apart[item].items()
            if other in placed
        ]
        starts = {bottom, top - size, *(end for hole in holes for end in hole)}
        free = [s for s in starts if not any(low < s < high for low, high in holes)]
        start = min(free, key=lambda s: (max(top, s + size) - min(bottom, s), abs(s - bottom)))
        placed[item] = start
        bottom, top = min(bottom, start), max(top, start + size)
    return [placed[item] for item in range(len(problem.sizes))]


def _improved(problem: Problem, order: list[int]) -> list[int]:
    """Greedy again and again, each time first what stuck out last time (Joslin and Clements,
    "Squeaky Wheel Optimization", JAIR 10, 1999).
    """
    best = offsets = _greedy(problem, order)
    for turn in range(_ROUNDS):
        if problem.total(best) == problem.bound:
            break
        items = range(len(offsets))
        highest = max(items, key=lambda i: offsets[i] + problem.sizes[i])
        lowest = min(items, key=lambda i: offsets[i])
        worst = highest if turn % 2 == 0 else lowest
        order.remove(worst)
        order.insert(0, worst)
        offsets = _greedy(problem, order)
        best = min(best, offsets, key=problem.total)
    return best


class _Exact:
    """Branch and bound over the buffers in the order of their starts.

    Some best placement has every buffer as low as those below allow, so a placement is an order.
    """

    def __init__(self, problem: Problem, best: list[int]) -> None:
        self._problem = problem
        self._best, self._total = best, problem.total(best)
        self._nodes = 0

    def search(self) -> tuple[list[int], bool]:
        """Best placement, and whether the search came to its end."""
        n = len(self._problem.sizes)
        done = self._place({}, [0] * n, 0)
        return self._best, done or self._total == self._problem.bound

    def _place(self, placed: dict[int, int], earliest: list[int], last: int) -> bool:
        sizes, apart = self._problem.sizes, self._problem.apart
        if len(placed) == len(sizes):
            self._best = [placed[i] for i in range(len(sizes))]
            self._total = self._problem.total(self._best)
            return True
        self._nodes += 1
        if self._nodes > _NODES:
            return False
        left = [i for i in range(len(sizes)) if i not in placed]
        # What is left goes above what is placed, at the start of the lowest of it or later.
        if any(max(earliest[i], last) + sizes[i] >= self._total for i in left):
            return True
        done = True
        for item in sorted(left, key=lambda i: (earliest[i], -sizes[i])):
            start = earliest[item]
            if start < last:
                continue
            later = [
                max(time, start + apart[item][i]) if i in apart[item] else time
                for i, time in enumerate(earliest)
            ]
            done &= self._place({**placed, item: start}, later, start)
            if self._total == self._problem.bound or self._nodes > _NODES:
                break
        return done
