"""The first layers of a network patch by patch, so that their large maps never lie there whole.

Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning", NeurIPS 2021,
section 3.1. A patch computes what its part of the last patched map depends on; where patches
overlap it is computed again. Edges are exact: windows reach over the border of the whole map where,
and only where, they do so in the whole network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import prod
from typing import Any

from hw_profiles.mcu.arena import arena
from hw_profiles.mcu.layers import (
    WINDOWED,
    Add,
    Copy,
    Layer,
    Pointwise,
    Table,
    Window,
)
from hw_profiles.mcu.lower import Call, Int8Network
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph
from search_spaces.ir.patches import BlockPatches, Interval

_POINTWISE = (Pointwise, Add, Table)


@dataclass(frozen=True, slots=True)
class Box:
    """Rows and columns of a map: `top <= y < bottom`, `left <= x < right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def around(self, other: "Box") -> "Box":
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


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
    parts = _parts(network, head, cut)
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
    return _parts(block, block.calls, cut)


def joined(parts: Sequence[Int8Network]) -> Int8Network:
    """All layers of the patches of a block, one patch after another, to be timed or counted."""
    return replace(parts[0], calls=tuple(call for part in parts for call in part.calls))


def largest(parts: Sequence[Int8Network]) -> Int8Network:
    """The patch whose tensors take the most memory."""
    return max(parts, key=lambda part: sum(map(prod, part.shapes.values())))


def needed(block: Int8Network, rows: Interval, columns: Interval) -> tuple[Interval, Interval]:
    """Rows and columns of a block's input on which a part of its output depends."""
    (image,) = block.inputs
    box = _needed(block.calls, Box(*rows, *columns))[image]
    return (box.top, box.bottom), (box.left, box.right)


def _parts(network: Int8Network, head: Sequence[Call], cut: BlockPatches) -> list[Int8Network]:
    last = head[-1].makes
    height, width, channels = network.shapes[last]
    parts = []
    for (i, rows), (j, columns) in product(enumerate(cut.rows), enumerate(cut.columns)):
        box = Box(*rows, *columns)
        one = _Patch(network, head, box, f"patch_{i}_{j}", cut.reads_whole)
        inputs, outputs = (one.source,), (one.place(last),)
        if cut.reads_whole:
            outputs = (*outputs, one.source)
        if cut.makes_whole:
            part = Copy(box.size, (height, width), channels, box.size, (0, 0), (box.top, box.left))
            one.calls.append(Call(one.place(last), part, (one.place(last),), last, "copy"))
            one.shapes[last] = network.shapes[last]
            one.quantization[last] = network.quantization[last]
            inputs, outputs = (*inputs, last), (last, *outputs[1:])
        parts.append(Int8Network(tuple(one.calls), inputs, outputs, one.shapes, one.quantization))
    return parts


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


class _Patch:
    """The layers of one patch, on the parts of maps that it needs."""

    def __init__(
        self, network: Int8Network, head: Sequence[Call], box: Box, name: str, reads_whole: bool
    ) -> None:
        self._network, self._name = network, name
        (image,) = network.inputs
        self.boxes = _needed(head, box)
        self.calls: list[Call] = []
        self.source = image if reads_whole else self.place(image)
        height, width, channels = network.shapes[image]
        there = Box(0, height, 0, width) if reads_whole else self.boxes[image]
        self.shapes: dict[str, tuple[int, ...]] = {self.source: (*there.size, channels)}
        self.quantization: dict[str, Any] = {self.source: network.quantization[image]}
        self._boxed = {image: there}
        for call in head:
            self._draw(call)

    def place(self, tensor: str) -> str:
        """Name of the patch's part of a tensor."""
        return f"{tensor}/{self._name}"

    def _draw(self, call: Call) -> None:
        box = self.boxes[call.makes]
        wanted = _read_by(call, box)
        reads = tuple(self._part(name, wanted, call) for name in call.reads)
        made = self.place(call.makes)
        self._note(made, call.makes, box)
        self._boxed[call.makes] = box
        layer = _cut(call, box, wanted, self.shapes[made][2])
        self.calls.append(replace(call, name=made, layer=layer, reads=reads, makes=made))

    def _part(self, tensor: str, wanted: Box, call: Call) -> str:
        """The name under which just that part of a tensor lies, copied if need be."""
        there = self._boxed[tensor]
        source = self.source if tensor in self._network.inputs else self.place(tensor)
        if there == wanted:
            return source
        name = f"{self.place(tensor)}/for/{call.name}"
        if name not in self.shapes:
            self._note(name, tensor, wanted)
            channels = self._network.shapes[tensor][2]
            start = (wanted.top - there.top, wanted.left - there.left)
            part = Copy(there.size, wanted.size, channels, wanted.size, start)
            self.calls.append(Call(name, part, (source,), name, "copy"))
        return name

    def _note(self, name: str, tensor: str, box: Box) -> None:
        self.shapes[name] = (*box.size, self._network.shapes[tensor][2])
        self.quantization[name] = self._network.quantization[tensor]


def _needed(head: Sequence[Call], box: Box) -> Mapping[str, Box]:
    """The part of each tensor that a part of the last one depends on."""
    boxes = {head[-1].makes: box}
    for call in reversed(head):
        wanted = _read_by(call, boxes[call.makes])
        for name in call.reads:
            boxes[name] = boxes[name].around(wanted) if name in boxes else wanted
    return boxes


def _read_by(call: Call, box: Box) -> Box:
    """What a layer reads to make a part of its output, inside the map."""
    layer: Any = call.layer
    if not isinstance(layer, WINDOWED):
        return box
    (height, width), window = layer.window.in_size, layer.window
    top, left = (
        start * stride - pad
        for start, stride, pad in zip((box.top, box.left), window.stride, window.pad, strict=True)
    )
    rows, columns = (
        (n - 1) * stride + kernel
        for n, stride, kernel in zip(box.size, window.stride, window.kernel, strict=True)
    )
    return Box(max(top, 0), min(top + rows, height), max(left, 0), min(left + columns, width))


def _cut(call: Call, box: Box, wanted: Box, channels: int) -> Layer:
    """The layer on a part of its map."""
    layer: Any = call.layer
    height, width = box.size
    if isinstance(layer, WINDOWED):
        window = layer.window
        starts = zip((box.top, box.left), window.stride, window.pad, strict=True)
        pad_top, pad_left = (max(pad - start * stride, 0) for start, stride, pad in starts)
        own = Window(wanted.size, box.size, window.kernel, window.stride, (pad_top, pad_left))
        return replace(layer, window=own)
    if isinstance(layer, Pointwise):
        return replace(layer, positions=height * width)
    return replace(layer, size=height * width * channels)
