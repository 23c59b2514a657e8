"""What a device has to measure so that it can answer for a whole space: exactly that, no more."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np

from hw_profiles.device import DeviceSpec
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph, Node
from search_spaces.ir.patches import BlockPatches


@dataclass(frozen=True, slots=True)
class Unit:
    """A block to measure.

    Args:
        key: its name in the table: digest of the block, and whether it reads the network's input
            (`/in`) or makes its output (`/out`). Equal in every space that has this block.
        graph: the block, batch norm still in it.
        raw: the inputs that are the network's own, so nothing stands before them.
        final: whether its outputs are the network's own, so nothing stands behind them.
        description: shapes and size, for people.
    """

    key: str
    graph: Graph
    raw: frozenset[str] = frozenset()
    final: bool = False
    description: str = ""


def blocks_on(device: DeviceSpec, blocks: BlockMap) -> BlockMap:
    """The blocks that a device runs: on microcontrollers also those in patches.

    Args:
        device: the device.
        blocks: of a space, without patches.
    """
    if device.kind != "mcu" or not blocks.space.drawing.cuts:
        return blocks
    from hw_profiles.mcu.patched_blocks import patched_blocks

    return patched_blocks(blocks.space)


def worklist(blocks: BlockMap, device: DeviceSpec) -> tuple[Unit, ...]:
    """All units that the space can emit on this device, in the order of `blocks.units`.

    Raises:
        InputError: the device wants units of another kind than blocks.
    """
    if device.unit != "block":
        raise InputError(f"device {device.id!r}: unit {device.unit!r} can't be measured yet")
    roles = _roles(blocks)
    out = []
    for number, graph in enumerate(blocks.units):
        raw, final = roles[number]
        place = next(slot.name for slot in blocks.slots if np.any(slot.units == number))
        key = _key(blocks.keys[number], raw, final)
        out.append(Unit(key, graph, raw, final, _describe(graph, place)))
    return tuple(out)


def unit_keys(blocks: BlockMap) -> tuple[str, ...]:
    """The table's key of each of the space's units."""
    roles = _roles(blocks)
    return tuple(_key(digest, *role) for digest, role in zip(blocks.keys, roles, strict=True))


def _key(digest: str, raw: frozenset[str], final: bool) -> str:
    return digest + ("/in" if raw else "") + ("/out" if final else "")


def _roles(blocks: BlockMap) -> list[tuple[frozenset[str], bool]]:
    """For each unit, which inputs are the network's, and whether its outputs are.

    A block that also stands in the middle of networks counts as one in the middle.
    """
    network = blocks.space.build(None)
    channels = {kind.shape[-1] for kind in network.inputs.values()}
    first = {_block_of(network, node.name) for node in network.nodes if _reads_input(network, node)}
    last = {_block_of(network, name) for name in network.outputs}
    places: list[set[str]] = [set() for _ in blocks.units]
    for slot in blocks.slots:
        for number in np.unique(slot.units):
            places[number].add(slot.name)
    return [
        (
            frozenset(
                name
                for name, kind in graph.inputs.items()
                if where <= first and kind.shape[-1] in channels
            ),
            where <= last,
        )
        for graph, where in zip(blocks.units, places, strict=True)
    ]


def missing(units: Sequence[Unit], measured: Container[str]) -> tuple[Unit, ...]:
    """Those of the units whose key is not among the measured ones."""
    return tuple(unit for unit in units if unit.key not in measured)


def _reads_input(network: Graph, node: Node) -> bool:
    return any(name in network.inputs for name in node.inputs)


def _block_of(network: Graph, name: str) -> str:
    return max((b for b in network.blocks if name.startswith(f"{b}/")), key=len, default="")


def _describe(graph: Graph, place: str) -> str:
    shapes = [
        "+".join("x".join(map(str, graph.type_of(name).shape)) for name in names)
        for names in (graph.inputs, graph.outputs)
    ]
    million = count(graph).macs / 1e6
    text = f"{place}: {shapes[0]} -> {shapes[1]}, {len(graph.nodes)} nodes, {million:.2f} MMACs"
    cut = graph.patches
    if isinstance(cut, BlockPatches):
        text += f", in {len(cut.rows)}x{len(cut.columns)} patches"
    return text
