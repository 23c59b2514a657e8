"""The blocks of a space as microcontrollers run them: whole, or in patches of some sizes.

What a patch computes of a block follows from the windows of the blocks behind it, and nothing else
of them. So blocks that run in patches are units like others, only that more knobs decide which one
stands at a position; time and constants in flash stay sums over positions, the arena a maximum.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cache, lru_cache
from math import prod

import numpy as np
from jaxtyping import Bool, Int

from hw_profiles.mcu.layers import WINDOWED
from hw_profiles.mcu.lower import Int8Network
from hw_profiles.mcu.memory import lowered
from hw_profiles.mcu.patches import needed, split
from hw_profiles.mcu.planner import aligned
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap, Position
from search_spaces.ir.graph import Graph
from search_spaces.ir.patches import BlockPatches, Interval
from search_spaces.space import Archs, SearchSpace

# Combinations of knobs at a position, each one number in a table.
_LIMIT = 4_000_000

# Rows and columns of a block's output, an interval for each patch along a side.
_Parts = tuple[tuple[Interval, ...], tuple[Interval, ...]]
_Numbers = Int[np.ndarray, " m"]


class PatchedBlocks(BlockMap):
    """All distinct blocks of a space whose networks may run in patches.

    Args:
        plain: the same space's blocks without patches.

    Raises:
        InputError: a block that may run in patches depends on too many knobs.
    """

    def __init__(self, plain: BlockMap) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.space, self.positions = plain.space, plain.positions
        self._plain = plain
        self._cuts = self.space.drawing.cuts
        self._head = max(cut.blocks for cut in self._cuts)
        self._network: Callable[[int], Int8Network] = cache(lambda u: lowered(plain.units[u]))
        self._parts: list[_Parts] = []
        self._graphs: dict[str, Graph] = {}
        self._numbers: dict[str, int] = {}
        self.slots = tuple(map(self._slot, range(len(plain.slots))))
        self.keys, self.units = tuple(self._graphs), tuple(self._graphs.values())

    def _slot(self, position: int) -> Position:
        slot = self._plain.slots[position]
        knobs = self._knobs(position) if position < self._head else slot.knobs
        sizes = [int(self.space.cardinality[knob]) for knob in knobs]
        if prod(sizes) > _LIMIT:
            names = ", ".join(self.space.knobs[knob].name for knob in knobs)
            raise InputError(
                f"block {slot.name!r} depends on {prod(sizes):,} combinations of {names} (limit "
                f"{_LIMIT:,}): cut fewer stages into patches, or leave out some of their options"
            )
        archs = np.zeros((prod(sizes), len(self.space.knobs)), np.int32)
        archs[:, knobs] = np.indices(sizes).reshape(len(sizes), -1).T
        units = self._units_at(archs, position)
        parts, last, made = self._patches_at(archs, position)
        image = self._bytes(self._units_at(archs, 0), lambda network: network.inputs[0])
        resident = np.where(last, 0, made) + np.where(position == 0, 0, image)
        rows = np.stack([units, parts, last, np.where(parts < 0, 0, resident)], axis=1)
        distinct, place = np.unique(rows, axis=0, return_inverse=True)
        numbers = [self._number(position, *map(int, row)) for row in distinct]
        return Position(slot.name, slot.conditions, knobs, np.array(numbers)[place.ravel()])

    def _number(self, position: int, unit: int, parts: int, last: int, resident: int) -> int:
        """Number of a unit, in the order of appearance."""
        key, graph = self._plain.keys[unit], self._plain.units[unit]
        if parts >= 0:
            rows, columns = self._parts[parts]
            cut = BlockPatches(rows, columns, position == 0, bool(last), resident)
            graph = replace(graph, patches=cut)
            key = graph.digest()
        self._graphs.setdefault(key, graph)
        return self._numbers.setdefault(key, len(self._numbers))

    def _knobs(self, position: int) -> tuple[int, ...]:
        """All on which it depends what a position's patches compute and what lies beside them."""
        slots, index = self._plain.slots, self.space.knob_index
        found = {*slots[position].knobs, *self._varying(0, self._read_shape)}
        for cut in self._cuts:
            found |= {index[cut.side], index[cut.depth]}
            may_end = True
            for i in reversed(range(position, cut.blocks)):
                if may_end:
                    found |= self._varying(i, self._made_shape)
                if i > position:
                    found |= self._varying(i, self._windows)
                    found |= {index[knob] for knob, _ in slots[i].conditions}
                may_end &= bool(slots[i].conditions)
        return tuple(sorted(found))

    def _varying(self, position: int, value: Callable[[int], Hashable]) -> set[int]:
        """Those knobs of a position along which a value of its units varies."""
        slot = self._plain.slots[position]
        numbers: dict[Hashable, int] = {}
        found = [numbers.setdefault(value(int(u)), len(numbers)) for u in slot.units]
        cube = np.array(found).reshape([int(self.space.cardinality[k]) for k in slot.knobs])
        return {
            knob
            for axis, knob in enumerate(slot.knobs)
            if np.any(cube != np.take(cube, [0], axis=axis))
        }

    def _read_shape(self, unit: int) -> Hashable:
        network = self._network(unit)
        return network.shapes[network.inputs[0]]

    def _made_shape(self, unit: int) -> Hashable:
        network = self._network(unit)
        return network.shapes[network.outputs[0]]

    def _windows(self, unit: int) -> Hashable:
        calls = self._network(unit).calls
        return tuple(call.layer.window for call in calls if isinstance(call.layer, WINDOWED))

    def _units_at(self, archs: Archs, position: int) -> _Numbers:
        """The unit without patches that stands there, if anything does."""
        slot = self._plain.slots[position]
        return slot.units[self.radix(archs, slot.knobs)]

    def _patches_at(
        self, archs: Archs, position: int
    ) -> tuple[_Numbers, Bool[np.ndarray, " m"], _Numbers]:
        """What patches make of the output of a block, backwards from where they end.

        Returns:
            for each architecture the number of the parts, -1 for the whole; whether patches end
            with this block; the bytes of the map that they make in the end.
        """
        names = self._cuts[0].side, self._cuts[0].depth
        side, depth = (self.space.knob_index[name] for name in names)
        count = np.array(self.space.knobs[side].options)[archs[:, side]]
        ends = np.zeros(len(archs), int)
        for cut in self._cuts:
            here = self.space.knobs[depth].options.index(cut.here)
            ends[(archs[:, depth] == here) & (count > 1)] = cut.blocks
        parts, made = np.full(len(archs), -1), np.zeros(len(archs), int)
        last = np.zeros(len(archs), bool)
        for i in reversed(range(position, self._head)):
            units = self._units_at(archs, i)
            there = i == position or self.space.holds(archs, self._plain.slots[i].conditions)
            inside = there & (i < ends)
            last = inside & (parts < 0)
            parts = _each(self._whole, units, count, parts, last)
            made = np.where(last, self._bytes(units, lambda network: network.outputs[0]), made)
            if i > position:
                parts = _each(self._before, units, parts, parts, inside)
        return parts, last, made

    def _whole(self, unit: int, count: int) -> int:
        network = self._network(unit)
        height, width, _ = network.shapes[network.outputs[0]]
        side = min(count, height, width)
        return self._parts_number((split(height, side), split(width, side)))

    def _before(self, unit: int, parts: int) -> int:
        """Number of the parts that a block has to read."""
        network = self._network(unit)
        both = zip(*self._parts[parts], strict=True)
        rows, columns = zip(*(needed(network, *pair) for pair in both), strict=True)
        return self._parts_number((rows, columns))

    def _parts_number(self, parts: _Parts) -> int:
        if parts not in self._parts:
            self._parts.append(parts)
        return self._parts.index(parts)

    def _bytes(self, units: _Numbers, tensor: Callable[[Int8Network], str]) -> _Numbers:
        distinct, place = np.unique(units, return_inverse=True)
        networks = [self._network(int(unit)) for unit in distinct]
        return np.array([aligned(prod(n.shapes[tensor(n)])) for n in networks])[place]


@lru_cache(maxsize=2)
def patched_blocks(space: SearchSpace) -> PatchedBlocks:
    """The patched blocks of a space, worked out once for all that asks for them."""
    return PatchedBlocks(BlockMap(space))


def _each(
    function: Callable[[int, int], int],
    a: _Numbers,
    b: _Numbers,
    otherwise: _Numbers,
    where: Bool[np.ndarray, " m"],
) -> _Numbers:
    """A function of two numbers where it is wanted, called once for each distinct pair."""
    out = otherwise.copy()
    if where.any():
        pairs, place = np.unique(np.stack([a[where], b[where]], 1), axis=0, return_inverse=True)
        out[where] = np.array([function(*map(int, pair)) for pair in pairs])[place.ravel()]
    return out
