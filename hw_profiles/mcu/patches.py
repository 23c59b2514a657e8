"""The first layers of a network patch by patch, so that their large maps never lie there whole.

Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning", NeurIPS 2021,
section 3.1. A patch computes what its part of the last patched map depends on; where patches
overlap it is computed again. Edges are exact: windows reach over the border of the whole map where,
and only where, they do so in the whole network.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

from hw_profiles.mcu.arena import arena
from hw_profiles.mcu.layers import (
    WINDOWED,
    Add,
    Pointwise,
    Table,
)
from hw_profiles.mcu.lower import Int8Network
from hw_profiles.mcu.parts import Box, needed_boxes, parts_of
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph
from search_spaces.ir.patches import BlockPatches, Interval

_POINTWISE = (Pointwise, Add, Table)


def patch_depths(network: Int8Network) -> tuple[int, ...]:
    """How many of the first layers can be patched: one map alone has to go on from there."""
    depths = []
    for depth in range(1, len(network.calls)):
        head, tail = network.calls[:depth], network.calls[depth:]
        if not isinstance(head[-1].layer, (*WINDOWED, *_POINTWISE)):
            break
        needed = {name for call in tail for name in call.reads} | set(network.outputs)
        made = {call.makes for call in head} | set(network.inputs)
        if needed & made == {head[-1].makes} and len(network.shapes[head[-1].makes]) == 3:
            depths.append(depth)
    return tuple(depths)


def patched(network: Int8Network, depth: int, patches: int) -> Int8Network:
    """The same network with its first layers in `patches` x `patches` patches.

    Args:
        network: one input.
        depth: how many layers are patched, one of `patch_depths(network)`.
        patches: along each side.

    Raises:
        InputError: the network can't be cut there, or the map has fewer rows or columns.
    """
    depths = patch_depths(network)
    if depth not in depths:
        known = ", ".join(map(str, depths)) or "none"
        raise InputError(f"patch depth {depth}: this network can be cut after {known} layers")
    head, tail = network.calls[:depth], network.calls[depth:]
    last = head[-1].makes
    height, width, _ = network.shapes[last]
    if not 1 <= patches <= min(height, width):
        raise InputError(
            f"{patches} x {patches} patches: the map after {depth} layers has {height} x {width} "
            "positions only"
        )
    cut = BlockPatches(split(height, patches), split(width, patches), True, True, 0)
    parts = parts_of(network, head, cut)
    calls = [call for part in parts for call in part.calls]
    shapes = {name: shape for part in parts for name, shape in part.shapes.items()}
    quantization = {name: kind for part in parts for name, kind in part.quantization.items()}
    inside = {call.makes for call in head[:-1]}
    kept = {name: shape for name, shape in network.shapes.items() if name not in inside}
    return replace(
        network,
        calls=(*calls, *tail),
        shapes=kept | shapes,
        quantization=dict(network.quantization) | quantization,
    )


def split(length: int, parts: int) -> tuple[Interval, ...]:
    """About equal intervals of `range(length)`."""
    ends = [i * length // parts for i in range(parts + 1)]
    return tuple(pairwise(ends))


def in_patches(network: Int8Network, graph: Graph) -> Int8Network:
    """The network with the patches that its graph asks for.

    Of a block, the layers of all its patches, one patch after another.

    Args:
        network: the layers of `graph`, whole.
        graph: a network or a block.

    Raises:
        InputError: the network can't be cut there.
    """
    cut = graph.patches
    if cut is None:
        return network
    if isinstance(cut, BlockPatches):
        return joined(block_parts(network, cut))
    inside = [i for i, c in enumerate(network.calls) if f"{c.name}/".startswith(f"{cut.last}/")]
    height, width, _ = network.shapes[network.calls[inside[-1]].makes]
    return patched(network, inside[-1] + 1, min(cut.side, height, width))


def block_parts(block: Int8Network, cut: BlockPatches) -> list[Int8Network]:
    """What each patch computes of a block, as a network of its own.

    Maps that other patches need as well are inputs and outputs at once: they stay all the time.
    """
    return parts_of(block, block.calls, cut)


def joined(parts: Sequence[Int8Network]) -> Int8Network:
    """All layers of the patches of a block, one patch after another, to be timed or counted."""
    return replace(parts[0], calls=tuple(call for part in parts for call in part.calls))


def largest(parts: Sequence[Int8Network]) -> Int8Network:
    """The patch whose tensors take the most memory."""
    return max(parts, key=lambda part: sum(map(prod, part.shapes.values())))


def needed(block: Int8Network, rows: Interval, columns: Interval) -> tuple[Interval, Interval]:
    """Rows and columns of a block's input on which a part of its output depends."""
    (image,) = block.inputs
    box = needed_boxes(block.calls, Box(*rows, *columns))[image]
    return (box.top, box.bottom), (box.left, box.right)


def best_depth(network: Int8Network, patches: int) -> int:
    """The depth at which that many patches take the least memory.

    Raises:
        InputError: the network has no map that can be cut into as many.
    """
    fits = [
        depth
        for depth in patch_depths(network)
        if min(network.shapes[network.calls[depth - 1].makes][:2]) >= patches
    ]
    if not fits:
        raise InputError(f"{patches} x {patches} patches: no map of this network can be cut so")
    needs = [arena(patched(network, depth, patches), simd=None).arena_bytes for depth in fits]
    return fits[needs.index(min(needs))]
