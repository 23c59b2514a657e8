"""Crossover and mutation of whole populations."""

import numpy as np
from jaxtyping import Bool, Float, Int

from search_spaces.space import Archs, SearchSpace

# Chosen by hypervolume on three integer problems: half the usual mutation rate, as each mutation
# of an integer is a real change, and steps as often as resets.
CROSSOVER = 0.9
MUTATIONS = 0.5
_STEP = 0.5


class Variation:
    """Makes children of architectures of a space.

    Args:
        space: where they come from.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._ordered = np.array([knob.ordered for knob in space.knobs], bool)

    def cross(
        self,
        rng: np.random.Generator,
        first: Archs,
        second: Archs,
        active: tuple[Bool[np.ndarray, "n k"], Bool[np.ndarray, "n k"]],
    ) -> Archs:
        """Uniform crossover of pairs.

        A knob that only one parent reads comes from that parent, and one that neither reads is
        drawn at random: blocks that a deeper child gains would all be of the first option else.

        Args:
            rng: source of the choices.
            first: one parent of each child.
            second: the other.
            active: which knobs each of them reads.
        """
        mixed = rng.random((len(first), 1), np.float32) < CROSSOVER
        swap = mixed & (rng.random(first.shape, np.float32) < 0.5)
        swap = swap & (active[0] == active[1]) | active[1] & ~active[0]
        # Faster than a choice by `np.where`.
        children = np.ascontiguousarray(first + (second - first) * swap)
        at, knobs = _places(~(active[0] | active[1]))
        children.reshape(-1)[at] = rng.random(len(at)) * self._space.cardinality[knobs]
        return children

    def mutate(
        self, rng: np.random.Generator, archs: Archs, rate: Float[np.ndarray, " n"]
    ) -> Archs:
        """Change each entry with its row's probability: to any other option, in ordered knobs half
        the time by one step.
        """
        # In single precision, upwards: so many numbers in single precision are below.
        single = rate.astype(np.float32)
        single = np.where(single < rate, np.nextafter(single, np.float32(np.inf)), single)
        at, knobs = _places(rng.random(archs.shape, np.float32) < single[:, None])
        out = archs.copy(order="C")
        out.reshape(-1)[at] = self._changed(rng, out.reshape(-1)[at], knobs)
        return out

    def mutate_one(self, rng: np.random.Generator, archs: Archs) -> Archs:
        """Change one knob that each architecture reads, if any has more than one option."""
        free = self._space.active(archs) & (self._space.cardinality > 1)[None, :]
        columns = np.argmax(rng.random(archs.shape) * free, axis=1)
        rows = np.flatnonzero(free.any(axis=1))
        out = archs.copy()
        out[rows, columns[rows]] = self._changed(rng, archs[rows, columns[rows]], columns[rows])
        return out

    def _changed(
        self, rng: np.random.Generator, entries: Int[np.ndarray, " e"], knobs: Int[np.ndarray, " e"]
    ) -> Int[np.ndarray, " e"]:
        top = self._space.cardinality[knobs] - 1
        entries = entries.astype(np.int64)
        other = entries + 1 + (rng.random(len(entries)) * top).astype(np.int64)
        other = np.where(top > 0, other % (top + 1), 0)
        step = np.where(rng.random(len(entries)) < 0.5, 1, -1)
        step = np.where(entries == 0, 1, np.where(entries == top, -1, step))
        stepped = np.clip(entries + step, 0, top)
        use_step = self._ordered[knobs] & (rng.random(len(entries)) < _STEP)
        return np.where(use_step, stepped, other)


def _places(mask: Bool[np.ndarray, "n k"]) -> tuple[Int[np.ndarray, " e"], Int[np.ndarray, " e"]]:
    """Positions of a mask in row order, and the column of each."""
    at = np.flatnonzero(mask)
    return at, at - at // mask.shape[1] * mask.shape[1]
