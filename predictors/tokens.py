"""Architectures as sequences of tokens with the flow between them, for whole populations at once.

A token is a block of the super-graph that differs between architectures; blocks that stand under
the same choices in every copy of a cell are one token. What an architecture has there is a look-up
by the few knobs that decide on it, and which tokens feed which follows from the paths of its cells
(`paths`): a token that lies on no living path is dead, and no signal flows through it.

Akhauri & Abdelfattah, "Encodings for Prediction-based Neural Architecture Search", ICML 2024, give
operations of a cell's graph in the same form; chains are added here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64

from predictors.paths import Cell, cell_of, find_cells, kind_of
from search_spaces.ir.blocks import BlockMap, Position
from search_spaces.ir.builder import Condition
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph
from search_spaces.space import Archs, SearchSpace

_SAMPLE = 2_000


@dataclass(frozen=True)
class TokenRows:
    """Architectures as tokens.

    Args:
        values: what stands at each token, 0 where nothing does.
        flow: from a token (second axis) into a later one (last axis): 1 where a signal gets from
            one to the other, 2 where nothing stands between them; 1 on the diagonal of tokens that
            are alive.
    """

    values: Float32[np.ndarray, "n t f"]
    flow: Float32[np.ndarray, "n t t"]


@dataclass(frozen=True, eq=False)
class _Token:
    """Blocks that depend on the same knobs in the same way.

    Args:
        knobs: what the values depend on, in mixed radix; none in a space that draws nothing.
        conditions: choices of other knobs under which it is present.
        cell: number of the cell that it is part of, if it is.
        through: 1 for each path of that cell that passes it.
        values: for each combination of options.
    """

    knobs: tuple[int, ...]
    conditions: tuple[Condition, ...]
    cell: int | None
    through: Float32[np.ndarray, " p"]
    values: Float64[np.ndarray, "combinations f"]


class Tokens:
    """The tokens of a space.

    Args:
        space: of one that can't draw its networks, every knob is a token.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._cells = find_cells(space) if space.has_networks else ()
        drawn = space.has_networks
        self._tokens = _of_blocks(BlockMap(space), self._cells) if drawn else _of_knobs(space)
        self._pairs = [
            np.einsum("ip,jp->ijp", through, through).reshape(-1, len(cell.paths))
            for i, cell in enumerate(self._cells)
            for through in [np.array([t.through for t in self._tokens if t.cell == i])]
        ]
        sample = space.sample(np.random.default_rng(0), _SAMPLE)
        raw = self._raw(sample, self._alive(sample, self._living(sample)))
        rows = raw.reshape(-1, raw.shape[2])
        rows = rows[np.any(rows != 0, axis=1)]
        self._center, spread = rows.mean(0), rows.std(0)
        self._kept = np.flatnonzero(spread > 1e-9)
        self._center, self._spread = self._center[self._kept], spread[self._kept]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tokens and of values of each."""
        return len(self._tokens), len(self._kept)

    def __call__(self, archs: Archs) -> TokenRows:
        """Tokens of architectures, each column standardised over tokens that are there."""
        living = self._living(archs)
        alive = self._alive(archs, living)
        values = self._raw(archs, alive)[:, :, self._kept]
        scaled = (values - self._center[None, None, :]) / self._spread[None, None, :]
        scaled = scaled.astype(np.float32) * alive[:, :, None]
        return TokenRows(scaled, self._flow(alive, living))

    def _living(self, archs: Archs) -> list[Float32[np.ndarray, "p n"]]:
        """1 for each path of each cell that an architecture has."""
        cardinality = list(map(int, self.space.cardinality))
        return [cell.alive(archs, cardinality).astype(np.float32) for cell in self._cells]

    def _alive(
        self, archs: Archs, living: Sequence[Float32[np.ndarray, "_ n"]]
    ) -> Bool[np.ndarray, "n t"]:
        out = np.empty((len(archs), len(self._tokens)), bool)
        for i, token in enumerate(self._tokens):
            out[:, i] = self.space.holds(archs, token.conditions)
            if token.cell is not None:
                out[:, i] &= token.through @ living[token.cell] > 0
        return out

    def _raw(self, archs: Archs, alive: Bool[np.ndarray, "n t"]) -> Float64[np.ndarray, "n t f"]:
        out = np.zeros((*alive.shape, self._tokens[0].values.shape[1]))
        for i, token in enumerate(self._tokens):
            place = np.zeros(len(archs), np.int64)
            for knob in token.knobs:
                place = place * self.space.cardinality[knob] + archs[:, knob]
            out[:, i] = token.values[place] * alive[:, i, None]
        return out

    def _flow(
        self, alive: Bool[np.ndarray, "n t"], living: Sequence[Float32[np.ndarray, "_ n"]]
    ) -> Float32[np.ndarray, "n t t"]:
        count = len(self._tokens)
        reached = alive[:, :, None] & alive[:, None, :]
        for i, paths in enumerate(living):
            own = np.array([k for k, token in enumerate(self._tokens) if token.cell == i])
            joined = (self._pairs[i] @ paths > 0).T.reshape(-1, len(own), len(own))
            reached[:, own[:, None], own[None, :]] &= joined
        reached &= np.triu(np.ones((count, count), bool), 1)[None]
        steps = reached.astype(np.float32)
        direct = reached & (steps @ steps == 0)
        return steps + direct + alive[:, :, None] * np.eye(count, dtype=np.float32)[None]


@lru_cache(maxsize=8)
def tokens_of(space: SearchSpace) -> Tokens:
    """The tokens of a space, worked out once."""
    return Tokens(space)


def _of_blocks(blocks: BlockMap, cells: Sequence[Cell]) -> tuple[_Token, ...]:
    """Of the blocks that differ, in the order of the first; values of equal copies are averaged."""
    kinds = sorted({kind for unit in blocks.units for kind in _kinds(unit)})
    per_unit = np.array([_values(unit, kinds) for unit in blocks.units])
    found: dict[tuple, list[Position]] = {}
    for slot in blocks.slots:
        if len(np.unique(slot.units)) > 1 or slot.conditions:
            cell, through = cell_of(slot.name, cells)
            key = (slot.knobs, slot.conditions, cell, through.tobytes())
            found.setdefault(key, []).append(slot)
    last = max(len(blocks.slots) - 1, 1)
    out = []
    for slots in found.values():
        values = np.mean([per_unit[slot.units] for slot in slots], axis=0)
        place = np.mean([blocks.slots.index(slot) for slot in slots]) / last
        values = np.concatenate([values, np.full((len(values), 1), place)], axis=1)
        cell, through = cell_of(slots[0].name, cells)
        out.append(_Token(slots[0].knobs, slots[0].conditions, cell, through, values))
    return tuple(out)


def _of_knobs(space: SearchSpace) -> tuple[_Token, ...]:
    """Where only choices are known: the option as one-hot and as rank, and which knob it is."""
    options = int(space.cardinality.max())
    out = []
    for i, knob in enumerate(space.knobs):
        size = len(knob.options)
        onehot = np.eye(size, options)
        rank = np.arange(size)[:, None] / max(size - 1, 1)
        place = np.full((size, 1), i / max(len(space.knobs) - 1, 1))
        values = np.concatenate([onehot, rank, place], axis=1)
        out.append(_Token((i,), (), None, np.zeros(0, np.float32), values))
    return tuple(out)


def _kinds(unit: Graph) -> list[str]:
    named = ("skip" if node.op == "identity" else kind_of(node) for node in unit.nodes)
    return [kind for kind in named if kind]


def _values(unit: Graph, kinds: Sequence[str]) -> list[float]:
    """Operations by kind; logarithms of the widest and the last map, of its side, of the costs."""
    own, costs = _kinds(unit), count(unit)
    shapes = [node.out.shape for node in unit.nodes]
    last = unit.type_of(unit.outputs[-1]).shape
    logs = (
        max(shape[-1] for shape in shapes),
        last[-1],
        last[0] if len(last) > 1 else 1,
        costs.macs,
        costs.params,
    )
    return [*(own.count(kind) for kind in kinds), *np.log1p(logs)]
