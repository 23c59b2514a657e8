"""One patch of the first layers of a network: what it reads, its layers, cut to size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from hw_profiles.mcu.layers import WINDOWED, Copy, Layer, Pointwise, Window
from hw_profiles.mcu.lower import Call, Int8Network
from search_spaces.ir.patches import BlockPatches


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


def parts_of(network: Int8Network, head: Sequence[Call], cut: BlockPatches) -> list[Int8Network]:
    """What each patch computes of the first layers, as a network of its own.

    Maps that other patches need as well are inputs and outputs at once: they stay all the time.

    Args:
        network: that the layers belong to, with one input.
        head: its first layers.
        cut: which parts of the last layer's map the patches make.
    """
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


class _Patch:
    """The layers of one patch, on the parts of maps that it needs."""

    def __init__(
        self, network: Int8Network, head: Sequence[Call], box: Box, name: str, reads_whole: bool
    ) -> None:
        self._network, self._name = network, name
        (image,) = network.inputs
        self.boxes = needed_boxes(head, box)
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


def needed_boxes(head: Sequence[Call], box: Box) -> Mapping[str, Box]:
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
