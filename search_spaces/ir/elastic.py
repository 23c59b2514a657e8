"""From the parameters of the super-graph to those of a sub-network: cut out, or masked.

`cut` returns the smaller arrays. `Elastic` turns architectures into vectors of sizes, gate bits and
branch numbers, with which one compiled program of the super-graph computes any of them: parameters
outside the slice are set to zero, so dead channels carry zeros into weights that are zero too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int, Int32

from search_spaces.ir.blocks import BlockMap, split_blocks
from search_spaces.ir.graph import Graph, Node
from search_spaces.ir.ops import GraphError
from search_spaces.space import Archs, SearchSpace


def cut(params: Mapping[str, Mapping], graph: Graph) -> dict[str, dict]:
    """Parameters of a sub-network, sliced out of those of its super-graph.

    Args:
        params: the super-graph's parameters, NumPy or JAX arrays.
        graph: the sub-network.

    Returns:
        A tree with the shapes of `graph`: kernel axes cut around the middle, others as a prefix.
    """
    return {
        node.name: {
            name: params[node.name][name][
                tuple(
                    _slice(full, size, axis in spec.centred)
                    for axis, (full, size) in enumerate(
                        zip(params[node.name][name].shape, spec.shape, strict=True)
                    )
                )
            ]
            for name, spec in node.params.items()
        }
        for node in graph.nodes
        if node.params
    }


def _slice(full: int, size: int, centred: bool) -> slice:
    start = (full - size) // 2 if centred else 0
    return slice(start, start + size)


@dataclass(frozen=True, slots=True)
class Size:
    """A slot that holds the live size of one axis of one parameter."""

    node: str
    param: str
    axis: int
    full: int
    centred: bool


@dataclass(frozen=True, slots=True)
class Switch:
    """A slot that holds a gate's bit or a select's branch number.

    Args:
        node: the gate or select in the super-graph.
        values: what the slot holds for each option of the knob.
    """

    node: str
    knob: str
    values: tuple[int, ...]


class Elastic:
    """The slots of a space: what one compiled program needs to know of an architecture."""

    def __init__(self, space: SearchSpace, blocks: BlockMap) -> None:
        self.space = space
        self.blocks = blocks
        self._graph = space.build(None)
        _check_shapes(blocks)
        _check_nodes(blocks, self._graph)

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """The axes whose size differs among the architectures of the space."""
        out = []
        for slot in self.blocks.slots:
            units = [self.blocks.units[u] for u in np.unique(slot.units)]
            for node in self._graph.nodes:
                if not node.name.startswith(f"{slot.name}/"):
                    continue
                local = node.name.removeprefix(f"{slot.name}/")
                for name, spec in node.params.items():
                    for axis, full in enumerate(spec.shape):
                        drawn = [u.by_name[local] for u in units if local in u.by_name]
                        if any(n.params[name].shape[axis] != full for n in drawn):
                            centred = axis in spec.centred
                            out.append(Size(node.name, name, axis, full, centred))
        return tuple(out)

    @cached_property
    def switches(self) -> tuple[Switch, ...]:
        """The gates and selects of the super-graph."""
        out = []
        for node in self._graph.nodes:
            if node.op not in ("gate", "select"):
                continue
            knob = str(node.attrs["knob"])
            options = self.space.knobs[self.space.knob_index[knob]].options
            index = node.attrs.get("index")
            values = (
                tuple(range(len(options)))
                if index is None
                else tuple(int(int(depth) > int(str(index))) for depth in options)
            )
            out.append(Switch(node.name, knob, values))
        return tuple(out)

    @cached_property
    def _tables(self) -> tuple[tuple[int, Int[np.ndarray, "u s"], list[int]], ...]:
        """For each position: its column, the sizes of its slots for each unit, and their places."""
        out = []
        for column, position in enumerate(self.blocks.positions):
            places = [
                i for i, size in enumerate(self.sizes) if size.node.startswith(f"{position}/")
            ]
            table = np.zeros((len(self.blocks.units), len(places)), np.int32)
            for unit in np.unique(self.blocks.slots[column].units):
                graph = self.blocks.units[unit]
                table[unit] = [_live(graph, position, self.sizes[i]) for i in places]
            out.append((column, table, places))
        return tuple(out)

    def encode(self, archs: Archs) -> Int32[np.ndarray, "n s"]:
        """Slot vectors of architectures: sizes first, then switches. An absent block has size 0."""
        out = np.zeros((len(archs), len(self.sizes) + len(self.switches)), np.int32)
        index = self.blocks.index(archs)
        for column, table, places in self._tables:
            present = index[:, column] >= 0
            rows = np.flatnonzero(present)
            out[np.ix_(rows, np.array(places, int))] = table[index[rows, column]]
        for i, switch in enumerate(self.switches, len(self.sizes)):
            out[:, i] = np.array(switch.values)[archs[:, self.space.knob_index[switch.knob]]]
        return out


def _live(unit: Graph, position: str, size: Size) -> int:
    """Size of a parameter's axis in a unit; whole where the unit has no such node."""
    node = unit.by_name.get(size.node.removeprefix(f"{position}/"))
    return size.full if node is None else node.params[size.param].shape[size.axis]


def _check_shapes(blocks: BlockMap) -> None:
    """Masks hide channels, not pixels, and not from ops that mix channels.

    Raises:
        GraphError: a map's height or width depends on a knob that is not static, or a softmax or a
            reshape of a map reads an elastic number of channels.
    """
    space = blocks.space
    for slot in blocks.slots:
        fixed: dict[tuple[tuple[int, ...], str], tuple[int, ...]] = {}
        for place, unit in enumerate(slot.units):
            choices = np.unravel_index(place, [space.cardinality[k] for k in slot.knobs])
            setting = tuple(
                int(choice)
                for knob, choice in zip(slot.knobs, choices, strict=True)
                if space.knobs[knob].static
            )
            for node in blocks.units[unit].nodes:
                shape = _unmasked(node, blocks.units[unit])
                if fixed.setdefault((setting, node.name), shape) != shape:
                    raise GraphError(
                        f"{slot.name}/{node.name}: heights and widths, and channels that "
                        f"{node.op} mixes, may depend on static knobs only"
                    )


def _check_nodes(blocks: BlockMap, super_graph: Graph) -> None:
    """What the super-graph computes outside its branches, every sub-network computes too.

    Raises:
        GraphError: a block draws a node for some options of its knobs only, which the masked
            super-graph would compute for all.
    """
    parts = split_blocks(super_graph)
    for slot in blocks.slots:
        nodes = parts[slot.name].nodes
        branches = tuple(
            f"{node.name.removesuffix('select')}{option}/"
            for node in nodes
            if node.op == "select"
            for option in blocks.space.knobs[
                blocks.space.knob_index[str(node.attrs["knob"])]
            ].options
        )
        always = [n.name for n in nodes if n.op not in ("gate", "select")]
        for name in (name for name in always if not name.startswith(branches)):
            for unit in np.unique(slot.units):
                if name not in blocks.units[unit].by_name:
                    raise GraphError(
                        f"{slot.name}/{name}: drawn for some choices only; draw it for all, or "
                        "inside a branch()"
                    )


def _unmasked(node: Node, graph: Graph) -> tuple[int, ...]:
    """The sizes that the masked executor takes from the super-graph."""
    source = graph.type_of(node.inputs[0]).shape
    mixes = node.op == "softmax" or (node.op == "reshape" and max(source[:-1], default=1) > 1)
    return (*node.out.shape[:-1], source[-1]) if mixes else node.out.shape[:-1]
