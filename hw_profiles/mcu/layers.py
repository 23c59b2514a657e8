"""Layers of a network in int8, with concrete shapes and constants: what C kernels compute.

Activations are `scale * (q - zero_point)` with q in int8 and one scale a tensor, weights int8 in
-127..127 with one scale an output channel and zero point 0, biases int32 at the product of the two
scales: TensorFlow Lite's 8-bit specification. Maps are (h, w, c), batch left out.

A new kernel is added in five places, and tests go through all of them by name:

1. here or, with weights, in `weighted.py`: a frozen dataclass with `op`, its name in C, and its
   place in `Layer`;
2. `reference.py`: the same in numpy, a function in its table;
3. `constants.py`: the values of its struct in the order of the header, and the scratch it asks;
4. `csrc/hwnas_kernels.h`: `hwnas_<op>_params` and the prototype;
5. `csrc/portable/<op>.c`, and where it pays `csrc/simd/<op>.c` for cores with the DSP extension;

and `random_layers.py` draws some of odd shapes for the tests.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Int8

from hw_profiles.mcu.fixed_point import quantize_multiplier
from hw_profiles.mcu.tensors import HIGHEST, LOWEST, Quantization, Window
from hw_profiles.mcu.tensors import LayerError as LayerError
from hw_profiles.mcu.weighted import ACCUMULATOR_LIMIT as ACCUMULATOR_LIMIT
from hw_profiles.mcu.weighted import Conv, Depthwise, FullyConnected, Pointwise


@dataclass(frozen=True)
class _Pool:
    """What pools share: they keep the scale, and what is padding counts for nothing."""

    window: Window
    channels: int
    low: int = LOWEST
    high: int = HIGHEST
    macs: ClassVar[int] = 0

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.window.in_size, self.channels)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.window.out_size, self.channels)


@dataclass(frozen=True)
class AveragePool(_Pool):
    """Mean of each window over what lies on the map, halves away from zero."""

    op: ClassVar[str] = "average_pool"


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Largest of each window."""

    op: ClassVar[str] = "max_pool"


@dataclass(frozen=True)
class GlobalPool:
    """Mean of each channel: an average pool whose window is the map; it keeps the scale."""

    positions: int
    channels: int
    op: ClassVar[str] = "global_pool"
    macs: ClassVar[int] = 0

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(positions, c)."""
        return (self.positions, self.channels)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(c,)."""
        return (self.channels,)


@dataclass(frozen=True)
class Add:
    """Sum of two tensors of one shape. May write over either of its inputs."""

    size: int
    first: Quantization
    second: Quantization
    output: Quantization
    low: int = LOWEST
    high: int = HIGHEST
    op: ClassVar[str] = "add"
    macs: ClassVar[int] = 0
    # Inputs are raised by as many bits before they are scaled (`reference_integer_ops::Add`).
    left_shift: ClassVar[int] = 20

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Of both inputs."""
        return (self.size,)

    out_shape = in_shape

    @cached_property
    def factors(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Multiplier and shift of the first input, of the second, of the sum."""
        twice = 2.0 * max(self.first.scale, self.second.scale)
        first = quantize_multiplier(self.first.scale / twice)
        second = quantize_multiplier(self.second.scale / twice)
        return first, second, quantize_multiplier(twice / (2**self.left_shift * self.output.scale))


@dataclass(frozen=True)
class Multiply:
    """A map times a factor for each channel (squeeze-excitation); with `positions` of 1, two
    tensors of one shape. May write over its first input.
    """

    positions: int
    channels: int
    first: Quantization
    second: Quantization
    output: Quantization
    low: int = LOWEST
    high: int = HIGHEST
    op: ClassVar[str] = "multiply"
    macs: ClassVar[int] = 0

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(positions, c) of the first input; the second is (c,)."""
        return (self.positions, self.channels)

    out_shape = in_shape

    @property
    def factor(self) -> tuple[int, int]:
        """Multiplier and shift of the product."""
        return quantize_multiplier(self.first.scale * self.second.scale / self.output.scale)


@dataclass(frozen=True, eq=False)
class Table:
    """Any function of one value, looked up: entry `q + 128`. May write over its input."""

    size: int
    table: Int8[np.ndarray, " 256"]
    op: ClassVar[str] = "table"
    macs: ClassVar[int] = 0

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(size,)."""
        return (self.size,)

    out_shape = in_shape


@dataclass(frozen=True)
class Softmax:
    """Over all of a vector; makes scale 1/256 and zero point -128, as TensorFlow Lite has it."""

    size: int
    input: Quantization
    op: ClassVar[str] = "softmax"
    macs: ClassVar[int] = 0
    output: ClassVar[Quantization] = Quantization(1 / 256, -128)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(size,)."""
        return (self.size,)

    out_shape = in_shape


@dataclass(frozen=True)
class Copy:
    """A part of a map to a part of another: what the patches of a network read and make.

    Args:
        in_size: height and width of the map that is read.
        out_size: of the map that is written, whose other parts stay as they are.
        channels: of both.
        size: height and width of the part.
        from_place: row and column of the part in the map that is read.
        to_place: in the one that is written.
    """

    in_size: tuple[int, int]
    out_size: tuple[int, int]
    channels: int
    size: tuple[int, int]
    from_place: tuple[int, int] = (0, 0)
    to_place: tuple[int, int] = (0, 0)
    op: ClassVar[str] = "copy"
    macs: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """The part lies on both maps."""
        for size, place in ((self.in_size, self.from_place), (self.out_size, self.to_place)):
            for length, start, part in zip(size, place, self.size, strict=True):
                if start < 0 or part < 1 or start + part > length:
                    raise LayerError(f"{self}: the part does not lie on both maps")

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.in_size, self.channels)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.out_size, self.channels)

    @property
    def parts(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns of the part, in the map that is read and in the one that is written."""
        read, written = (
            tuple(slice(start, start + n) for start, n in zip(place, self.size, strict=True))
            for place in (self.from_place, self.to_place)
        )
        return (read[0], read[1]), (written[0], written[1])


Layer = (
    Conv
    | Depthwise
    | Pointwise
    | FullyConnected
    | AveragePool
    | MaxPool
    | GlobalPool
    | Add
    | Multiply
    | Table
    | Softmax
    | Copy
)
LAYERS: dict[str, type] = {kind.op: kind for kind in Layer.__args__}
# Kernels whose outputs depend on a window of the input.
WINDOWED = (Conv, Depthwise, AveragePool, MaxPool)
# Kernels that read two tensors.
TWO_INPUTS = ("add", "multiply")
# Kernels whose output may lie where their (first) input does.
IN_PLACE = ("depthwise", "add", "multiply", "table")
