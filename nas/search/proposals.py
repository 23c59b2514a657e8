"""Proposals that repeat nothing, each other included."""

from collections.abc import Callable
from math import prod

import numpy as np
from jaxtyping import Int

from nas.search.seen import Seen
from search_spaces.space import Archs, SearchSpace

# Spaces up to this many settings of the knobs are enumerated where random draws find nothing new.
_ENUMERABLE = 2**18
_SAMPLE_ROUNDS = 12


class Proposals:
    """Collects distinct canonical architectures that were not seen.

    Args:
        space: where they come from.
        seen: what they must not be.
        n: how many are wanted.
    """

    def __init__(self, space: SearchSpace, seen: Seen, n: int) -> None:
        self._space = space
        self._seen = seen
        self._n = n
        self._codes = np.zeros(0, np.uint64)
        self._archs: Archs = np.zeros((0, len(space.cardinality)), space.narrow)

    @property
    def archs(self) -> Archs:
        """What was collected."""
        return self._archs.astype(np.int64)

    @property
    def missing(self) -> int:
        """How many are still wanted."""
        return self._n - len(self._archs)

    @property
    def full(self) -> bool:
        """Whether there are as many as are wanted."""
        return len(self._archs) >= self._n

    def fill(self, draw: Callable[[int, int], Archs], rounds: int, n: int | None = None) -> None:
        """Take what `draw(round, missing)` gives until there are enough, or no round is left.

        Args:
            draw: gives about `missing` architectures, which need be neither canonical nor new.
            rounds: how often to draw at most.
            n: stop at this many; default: as many as are wanted.
        """
        n = self._n if n is None else min(n, self._n)
        for attempt in range(rounds):
            missing = n - len(self._archs)
            if missing <= 0:
                return
            self._take(draw(attempt, missing), missing)

    def fill_at_random(self, rng: np.random.Generator) -> None:
        """Fill up with random samples; small spaces are searched to their last architecture, as are
        the architectures that a search is restricted to.
        """
        if self._seen.only is not None:
            self._take(rng.permutation(self._seen.only), self._n)
            return
        self.fill(lambda _, missing: self._space.sample(rng, missing + 16), _SAMPLE_ROUNDS)
        if not self.full and prod(map(int, self._space.cardinality)) <= _ENUMERABLE:
            self._take(rng.permutation(settings(self._space.cardinality)), self._n)

    def _take(self, archs: Archs, limit: int) -> None:
        archs = self._space.canonical(archs.astype(self._space.narrow))
        codes = self._seen.codes(archs)
        order = np.argsort(codes, kind="stable")
        # In order they are searched for faster.
        ordered = codes[order]
        known = self._seen.contains(ordered)
        known[1:] |= ordered[1:] == ordered[:-1]
        if len(self._codes):
            known |= np.isin(ordered, self._codes)
        new = np.sort(order[~known])[: min(limit, self.missing)]
        self._archs = np.concatenate([self._archs, archs[new]])
        self._codes = np.concatenate([self._codes, codes[new]])


def settings(cardinality: Int[np.ndarray, " k"]) -> Archs:
    """Every setting of the knobs, canonical or not."""
    radix = np.concatenate([[1], np.cumprod(cardinality)])
    return np.arange(radix[-1])[:, None] // radix[None, :-1] % cardinality[None, :]
