"""A space seen as positions that hold blocks: costs and masks of whole populations by look-up.

What stands at a position depends on few knobs: those read inside the block or in a scope around
it, and those that shape its inputs. `BlockMap` draws every combination of them, many positions at a
time, and keeps the distinct sub-graphs. So the blocks that a space can emit are listed exactly, and
any cost of `n` architectures is a gather and a sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np
from jaxtyping import Float, Int

from search_spaces.errors import InputError
from search_spaces.ir.builder import Condition
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph, TensorType
from search_spaces.space import Archs, SearchSpace

_LIMIT = 50_000
# Every network is drawn with all of them, once for each option: minutes beyond this.
_MOST_POSITIONS = 1000


def split_blocks(graph: Graph) -> dict[str, Graph]:
    """The blocks of a graph as graphs of their own.

    Node names lose the block's name, inputs become `x0`, `x1`, … in the order they are first read.

    Raises:
        InputError: a node stands in no block, or a block holds no node.
    """
    owner = _owners(graph)
    members: dict[str, list[str]] = {name: [] for name in graph.blocks}
    for name, block in owner.items():
        if not block:
            raise InputError(f"node {name!r} stands in no block: draw it inside b.block()")
        members[block].append(name)
    empty = [name for name, nodes in members.items() if not nodes]
    if empty:
        raise InputError(f"block {empty[0]!r} holds no node: draw an `identity` inside it")
    leaving = set(graph.outputs)
    for node in graph.nodes:
        leaving |= {i for i in node.inputs if i in owner and owner[i] != owner[node.name]}
    return {block: _extract(graph, block, names, leaving) for block, names in members.items()}


def _owners(graph: Graph) -> dict[str, str]:
    """The innermost block of each node; empty where it stands in none."""
    blocks, owner = set(graph.blocks), {}
    for node in graph.nodes:
        prefix = node.name
        while prefix and prefix not in blocks:
            prefix = prefix.rpartition("/")[0]
        owner[node.name] = prefix
    return owner


def _extract(graph: Graph, block: str, names: list[str], leaving: set[str]) -> Graph:
    inside = set(names)
    inputs: dict[str, str] = {}
    for name in names:
        for source in graph.by_name[name].inputs:
            if source not in inside:
                inputs.setdefault(source, f"x{len(inputs)}")
    nodes = tuple(graph.by_name[name] for name in names)
    sub = Graph({}, nodes, tuple(n for n in names if n in leaving)).renamed(f"{block}/")
    nodes = tuple(
        type(node)(
            node.name,
            node.op,
            tuple(inputs.get(i, i) for i in node.inputs),
            node.out,
            node.params,
            node.attrs,
        )
        for node in sub.nodes
    )
    types = {new: graph.type_of(old) for old, new in inputs.items()}
    return Graph(types, nodes, sub.outputs)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the super-graph where a block can stand.

    Args:
        name: the block's name.
        conditions: choices of other knobs under which it is present.
        knobs: indices of the knobs that decide what stands here, ascending.
        units: unit number for each combination of their options, in mixed radix.
    """

    name: str
    conditions: tuple[Condition, ...]
    knobs: tuple[int, ...]
    units: Int[np.ndarray, " combinations"]


class BlockMap:
    """The blocks of a space: all distinct ones, and which of them an architecture uses where."""

    def __init__(self, space: SearchSpace) -> None:
        positions = len(space.drawing.blocks)
        if positions > _MOST_POSITIONS:
            raise InputError(
                f"space: {space.name} draws {positions:,} blocks one after the other (limit "
                f"{_MOST_POSITIONS:,}): lower its largest depth, or its number of stages"
            )
        self.space = space
        self._graphs: dict[str, Graph] = {}
        deps = {name: self._read_inside(name) for name in space.drawing.blocks}
        feeds = self._feeds()
        while True:
            tables = self._sweep(deps)
            grown = self._inherit(deps, feeds, tables)
            if grown == deps:
                break
            deps = grown
        self.keys = tuple(self._graphs)
        self.units = tuple(self._graphs.values())
        number = {key: i for i, key in enumerate(self.keys)}
        self.slots = tuple(
            Position(
                name,
                space.drawing.blocks[name],
                deps[name],
                np.array([number[key] for key in tables[name]]),
            )
            for name in space.drawing.blocks
        )
        self.positions = tuple(slot.name for slot in self.slots)

    @cached_property
    def macs(self) -> Int[np.ndarray, " u"]:
        """Multiply-accumulates of each unit."""
        return np.array([count(unit).macs for unit in self.units])

    @cached_property
    def params(self) -> Int[np.ndarray, " u"]:
        """Parameters of each unit."""
        return np.array([count(unit).params for unit in self.units])

    def index(self, archs: Archs) -> Int[np.ndarray, "n b"]:
        """Number of the unit at each position; -1 where the block is absent."""
        out = np.full((len(archs), len(self.slots)), -1, np.int32)
        for column, slot in enumerate(self.slots):
            place = self.radix(archs, slot.knobs)
            present = self.space.holds(archs, slot.conditions)
            out[present, column] = slot.units[place[present]]
        return out

    def total(
        self, per_unit: Float[np.ndarray, " u"] | Int[np.ndarray, " u"], archs: Archs
    ) -> Float[np.ndarray, " n"] | Int[np.ndarray, " n"]:
        """Sum of a per-unit cost over the blocks of each architecture."""
        padded = np.append(per_unit, np.zeros(1, per_unit.dtype))
        return padded[self.index(archs)].sum(1)

    def radix(self, archs: Archs, knobs: tuple[int, ...]) -> Int[np.ndarray, " n"]:
        """Number of each architecture's combination of knob options, the last knob fastest."""
        place = np.zeros(len(archs), np.int64)
        for knob in knobs:
            place = place * self.space.cardinality[knob] + archs[:, knob]
        return place

    def _read_inside(self, block: str) -> tuple[int, ...]:
        """Knobs read in the block, or outside every block in a scope around it."""
        return tuple(
            sorted(
                {
                    self.space.knob_index[pick.knob]
                    for pick in self.space.drawing.picks
                    if pick.block == block
                    or (pick.block is None and not pick.counts and _around(pick.scope, block))
                }
            )
        )

    def _feeds(self) -> dict[str, set[str]]:
        """Blocks that each block reads from, in the super-graph."""
        graph = self.space.build(None)
        block_of = _owners(graph)
        feeds: dict[str, set[str]] = {name: set() for name in graph.blocks}
        for node in graph.nodes:
            for source in node.inputs:
                if source in block_of and block_of[source] != block_of[node.name]:
                    feeds[block_of[node.name]].add(block_of[source])
        return feeds

    def _sweep(self, deps: Mapping[str, tuple[int, ...]]) -> dict[str, list[str]]:
        """Unit key of every combination at every position, many positions in one drawing."""
        todo = {name: list(self._settings(name, knobs)) for name, knobs in deps.items()}
        tables: dict[str, list[str]] = {name: [] for name in deps}
        default = dict(enumerate(map(int, self.space.largest())))
        while any(len(tables[name]) < len(todo[name]) for name in deps):
            chosen: dict[int, int] = {}
            drawn = []
            for name in deps:
                if len(tables[name]) == len(todo[name]):
                    continue
                wanted = todo[name][len(tables[name])]
                if all(chosen.get(knob, value) == value for knob, value in wanted.items()):
                    chosen |= wanted
                    drawn.append(name)
            setting = default | chosen
            arch = self.space.canonical(np.array([[setting[i] for i in range(len(setting))]]))[0]
            graphs = split_blocks(self.space.build(arch))
            for name in drawn:
                key = graphs[name].digest()
                self._graphs.setdefault(key, graphs[name])
                tables[name].append(key)
        return tables

    def _settings(self, block: str, knobs: tuple[int, ...]) -> list[dict[int, int]]:
        cardinality = self.space.cardinality
        combinations = prod(int(cardinality[k]) for k in knobs)
        if combinations > _LIMIT:
            names = ", ".join(self.space.knobs[k].name for k in knobs)
            raise InputError(
                f"block {block!r} depends on {combinations:,} combinations of {names} (limit "
                f"{_LIMIT:,}): read stage-wide knobs inside b.scope(), or draw smaller blocks"
            )
        conditions = {
            self.space.knob_index[knob]: max(allowed)
            for knob, allowed in self.space.drawing.blocks[block]
        }
        ranges = (range(int(cardinality[k])) for k in knobs)
        return [conditions | dict(zip(knobs, values, strict=True)) for values in product(*ranges)]

    def _inherit(
        self,
        deps: dict[str, tuple[int, ...]],
        feeds: dict[str, set[str]],
        tables: dict[str, list[str]],
    ) -> dict[str, tuple[int, ...]]:
        """Add to each block the knobs that change the shapes of what it reads."""
        shaping = {name: self._shaping(deps[name], tables[name]) for name in deps}
        return {
            name: tuple(sorted(set(knobs).union(*(shaping[source] for source in feeds[name]))))
            for name, knobs in deps.items()
        }

    def _shaping(self, knobs: tuple[int, ...], keys: list[str]) -> set[int]:
        """Those of the knobs on which the types of a block's outputs depend."""
        graphs = [self._graphs[key] for key in keys]
        types = [tuple(graph.type_of(name) for name in graph.outputs) for graph in graphs]
        numbers: dict[tuple[TensorType, ...], int] = {}
        found = [numbers.setdefault(kinds, len(numbers)) for kinds in types]
        cube = np.array(found).reshape([int(self.space.cardinality[k]) for k in knobs])
        return {
            knob for axis, knob in enumerate(knobs) if np.any(cube != np.take(cube, [0], axis=axis))
        }


def _around(scope: str, block: str) -> bool:
    return scope == "" or block.startswith(f"{scope}/")
