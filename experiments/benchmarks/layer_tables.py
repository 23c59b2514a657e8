"""Published networks rebuilt from tables of their layers, with random weights.

A table has a row for each operator of a TensorFlow Lite file: `tflite` (the network), `layer`,
`op`, `in_shape`, `out_shape`, `kh`, `kw`, `stride`, `act_inputs` and `outputs`,
`in_bytes`, `out_bytes`. Padding before a window is taken to be part of it; reshapes and the
like move nothing; element by element ops with one input are look-ups; copies (concatenation,
resizing, tiling) are counted as look-ups of what they make, their nearest kernel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from hw_profiles.mcu import random_layers
from hw_profiles.mcu.constants import scratch_bytes
from hw_profiles.mcu.layers import (
    IN_PLACE,
    AveragePool,
    GlobalPool,
    Layer,
    MaxPool,
    Quantization,
    Softmax,
    Window,
)
from hw_profiles.mcu.overlap import distance_below
from hw_profiles.mcu.planner import Step, plan

Row = Mapping[str, Any]

# They move no bytes where a network is compiled; PAD is done by who reads it.
_FREE = ("RESHAPE", "SHAPE", "STRIDED_SLICE", "PACK", "PAD", "EXPAND_DIMS", "SQUEEZE")
# They would write over what they have yet to read, were they to work in place.
COPIES = ("CONCATENATION", "RESIZE_BILINEAR", "TILE", "TRANSPOSE")


def layer_of(row: Row) -> Layer | None:
    """The kernel that does the work of an operator; None where there is none to do."""
    rng = np.random.default_rng(0)
    made = _shape(row["out_shape"])
    if row["op"] in _FREE or not made:
        return None
    read = _shape(row["in_shape"])
    if row["op"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return _conv(row, read, made, rng)
    if row["op"] in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        window = _window(row, read, made)
        pool = AveragePool if row["op"] == "AVERAGE_POOL_2D" else MaxPool
        return pool(window, made[-1])
    if row["op"] in ("MEAN", "REDUCE_MAX"):
        return GlobalPool(prod(read[:-1]), read[-1])
    if row["op"] == "FULLY_CONNECTED":
        return random_layers.fully_connected(rng, read[-1], made[-1])
    if row["op"] == "SOFTMAX":
        return Softmax(prod(made), Quantization(0.1))
    if row["op"] in ("ADD", "MUL") and row["n_act_inputs"] > 1:
        if row["op"] == "ADD":
            return random_layers.add(rng, prod(made))
        return random_layers.multiply(rng, prod(made[:-1]), made[-1])
    return random_layers.table(rng, prod(made))


def layers_of(rows: Sequence[Row]) -> list[Layer]:
    """The kernels of a network, in order."""
    return [layer for row in _unpadded(rows) if (layer := layer_of(row)) is not None]


@dataclass(frozen=True)
class Operator:
    """A row of the table that has a kernel, its tensors by the names they have in RAM.

    Args:
        op: of TensorFlow Lite.
        layer: the kernel's.
        reads: tensors, those that are made.
        makes: a tensor.
        in_shape: of the first one that is read.
        out_shape: of the one that is made.
    """

    op: str
    layer: Layer
    reads: tuple[str, ...]
    makes: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]


def operators(rows: Sequence[Row]) -> tuple[list[Operator], dict[str, int]]:
    """What a network runs, in order, and the bytes of its tensors.

    What only changes a shape or rounds has no kernel: its output is its input.
    """
    rows = [row for row in _unpadded(rows) if prod(_shape(row["out_shape"]) or (0,))]
    sizes, alias, found = dict[str, int](), dict[str, str](), list[Operator]()
    for row in rows:
        reads = tuple(alias.get(n, n) for n in str(row["act_inputs"]).split())
        makes = str(row["outputs"]).split()[0]
        read, made = _shape(row["in_shape"]), _shape(row["out_shape"])
        if reads:
            sizes.setdefault(reads[0], prod(read))
        reads = tuple(name for name in reads if name in sizes)
        layer = layer_of(row)
        rounds = row["op"] in ("QUANTIZE", "DEQUANTIZE")
        if layer is None or (rounds and reads):
            alias[makes] = reads[0]
            continue
        sizes[makes] = prod(made)
        found.append(Operator(str(row["op"]), layer, reads, makes, read, made))
    return found, sizes


def ends(
    sizes: Mapping[str, int], steps: Sequence[Step]
) -> tuple[dict[str, int], tuple[Step, ...], tuple[str, ...], tuple[str, ...]]:
    """What the planner is given: a network's inputs no step makes, and its outputs none reads."""
    made = {step.makes for step in steps}
    used = {name for step in steps for name in step.reads}
    inputs = tuple(name for name in sizes if name not in made and name in used)
    outputs = tuple(name for name in made if name not in used)
    kept = {name: size for name, size in sizes.items() if name in made | used}
    return kept, tuple(steps), inputs, outputs


def arena_bytes(rows: Sequence[Row], *, simd: bool) -> int:
    """RAM that the network's activations need where the planner lays them out."""
    found, sizes = operators(rows)
    steps = []
    for number, one in enumerate(found):
        places = one.reads if one.layer.op == "add" else one.reads[:1]
        in_place = one.layer.op in IN_PLACE and one.op not in COPIES
        distance = distance_below(one.layer)
        steps.append(
            Step(
                f"step{number}",
                one.reads,
                one.makes,
                scratch_bytes(one.layer, simd=simd),
                tuple(dict.fromkeys(places)) if in_place else (),
                {one.reads[0]: distance} if distance and len(one.reads) == 1 else {},
            )
        )
    return plan(*ends(sizes, steps)).arena_bytes


def _conv(
    row: Row, read: tuple[int, ...], made: tuple[int, ...], rng: np.random.Generator
) -> Layer:
    window = _window(row, read, made)
    if row["op"] == "DEPTHWISE_CONV_2D" and read[-1] == made[-1]:
        return random_layers.depthwise(rng, window, made[-1])
    if window.kernel == (1, 1) and window.stride == (1, 1):
        return random_layers.pointwise(rng, prod(made[:-1]), read[-1], made[-1])
    # A depthwise one that makes several channels of each is the convolution of one channel.
    c_in = 1 if row["op"] == "DEPTHWISE_CONV_2D" else read[-1]
    return random_layers.conv(rng, window, c_in, made[-1])


def _window(row: Row, read: tuple[int, ...], made: tuple[int, ...]) -> Window:
    """Padding as TensorFlow's SAME or VALID, whichever gives the output's size.

    A table has one stride; where it does not fit the width, that has none.
    """
    size, kernel = (read[0], read[1]), (int(row["kh"]), int(row["kw"]))
    for across in (int(row["stride"]), 1):
        stride = (int(row["stride"]), across)
        same = Window.same(size, kernel, stride)
        if same.out_size == made[:2]:
            return same
        fits = [(i - k) // s + 1 for i, k, s in zip(size, kernel, stride, strict=True)]
        if tuple(fits) == made[:2]:
            break
    return Window(size, (made[0], made[1]), kernel, stride)


def _unpadded(rows: Sequence[Row]) -> list[Row]:
    """Without PAD: who reads a padded map reads the map itself, with its padding."""
    before: dict[str, Row] = {}
    found = []
    for row in rows:
        if row["op"] == "PAD":
            before[str(row["outputs"])] = row
            continue
        padded = before.get(str(row["act_inputs"]))
        if padded is not None and int(row["kh"]) == 1:
            found.append(padded)
        elif padded is not None:
            row = {**row, "act_inputs": padded["act_inputs"], "in_shape": padded["in_shape"]}
        found.append(row)
    return found


def _shape(text: str) -> tuple[int, ...]:
    """(h, w, c) of `1xHxWxC`, (c,) of `1xC`; none of a scalar."""
    sizes = tuple(int(size) for size in str(text).split("x") if size)
    return sizes[1:] if len(sizes) > 1 else ()
