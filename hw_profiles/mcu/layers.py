"""Layers of a network in int8, with concrete shapes and constants: what C kernels compute.

Activations are `scale * (q - zero_point)` with q in int8 and one scale a tensor, weights int8 in
-127..127 with one scale an output channel and zero point 0, biases int32 at the product of the two
scales: TensorFlow Lite's 8-bit specification. Maps are (h, w, c), batch left out.

A new kernel is added in five places, and tests go through all of them by name:

1. here: a frozen dataclass with `op`, its name in C, and a line in `LAYERS`;
2. `reference.py`: the same in numpy, a function in its table;
3. `constants.py`: the values of its struct in the order of the header, and the scratch it asks;
4. `csrc/hwnas_kernels.h`: `hwnas_<op>_params` and the prototype;
5. `csrc/portable/<op>.c`, and where it pays `csrc/simd/<op>.c` for cores with the DSP extension;

and `random_layers.py` draws some of odd shapes for the tests.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float32, Int8, Int32

from hw_profiles.mcu.fixed_point import quantize_multiplier

# Kernels double accumulators before they scale them.
ACCUMULATOR_LIMIT = 1 << 30
LOWEST, HIGHEST = -128, 127


class LayerError(ValueError):
    """A layer breaks a rule of its kernel: a mistake of who made it, not of a user."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """What int8 values of a tensor stand for: `scale * (q - zero_point)`."""

    scale: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        """Scales are float32, as files hold them."""
        object.__setattr__(self, "scale", float(np.float32(self.scale)))
        if not (self.scale > 0 and LOWEST <= self.zero_point <= HIGHEST):
            raise LayerError(f"scale {self.scale}, zero point {self.zero_point}: not of int8")


@dataclass(frozen=True, slots=True)
class Window:
    """Where a window reads: output (y, x) starts at `y * stride - top`, `x * stride - left`.

    Args:
        in_size: height and width of the map.
        out_size: of what is made.
        kernel: height and width of the window.
        stride: down and to the right.
        pad: rows above and columns to the left that are zero; what lies beyond the other two
            edges is zero as well.
    """

    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Every window touches the map."""
        parts = zip(self.in_size, self.out_size, self.kernel, self.stride, self.pad, strict=True)
        for size, out, kernel, stride, pad in parts:
            if min(size, out, kernel, stride) < 1 or not 0 <= pad < kernel:
                raise LayerError(f"{self}: no such window")
            if (out - 1) * stride - pad >= size:
                raise LayerError(f"{self}: the last window reads nothing")

    @classmethod
    def same(
        cls, in_size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]
    ) -> Self:
        """SAME of TensorFlow: as many outputs as strides, the odd row of padding at the end."""
        out = (-(-in_size[0] // stride[0]), -(-in_size[1] // stride[1]))
        missing = [
            max((o - 1) * s + k - i, 0)
            for o, s, k, i in zip(out, stride, kernel, in_size, strict=True)
        ]
        return cls(in_size, out, kernel, stride, (missing[0] // 2, missing[1] // 2))

    @classmethod
    def padded(cls, in_size: tuple[int, int], kernel: int, stride: int, padding: int) -> Self:
        """A square window with as much padding on all sides, as the ops of graphs have it."""
        out_h, out_w = ((size + 2 * padding - kernel) // stride + 1 for size in in_size)
        sides = (padding, padding)
        return cls(in_size, (out_h, out_w), (kernel, kernel), (stride, stride), sides)


@dataclass(frozen=True, eq=False)
class _Weighted:
    """What layers with weights share.

    Args:
        input: of the tensor that is read.
        output: of the tensor that is made.
        weight: (c_out, ...); a depthwise one (kh, kw, c).
        weight_scale: of each output channel.
        bias: of each output channel, at `input.scale * weight_scale`.
        low: smallest value of the output, an activation's bound.
        high: largest.
    """

    input: Quantization
    output: Quantization
    weight: Int8[np.ndarray, "..."]
    weight_scale: Float32[np.ndarray, " c_out"]
    bias: Int32[np.ndarray, " c_out"]
    low: int = field(default=LOWEST, kw_only=True)
    high: int = field(default=HIGHEST, kw_only=True)

    _features_axis: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Check ranks and ranges."""
        features = self.weight.shape[self._features_axis]
        if not (len(self.bias) == len(self.weight_scale) == features):
            raise LayerError(f"{type(self).__name__}: {features} channels, not as many constants")
        if not LOWEST <= self.low <= self.high <= HIGHEST:
            raise LayerError(f"{type(self).__name__}: clamps to {self.low}..{self.high}")
        if (self.weight == LOWEST).any():
            raise LayerError(f"{type(self).__name__}: weights are -127..127")
        largest = np.abs(self.bias.astype(np.int64)) + 255 * self._sums(np.abs)
        if (largest << np.maximum(self.shift, 0) >= ACCUMULATOR_LIMIT).any():
            raise LayerError(f"{type(self).__name__}: sums may reach 2^30; give it larger steps")

    def _sums(self, of: Callable[[np.ndarray], np.ndarray] = np.asarray) -> np.ndarray:
        axes = tuple(
            axis
            for axis in range(self.weight.ndim)
            if axis != self._features_axis % self.weight.ndim
        )
        return of(self.weight.astype(np.int64)).sum(axis=axes)

    @cached_property
    def _factors(self) -> list[tuple[int, int]]:
        scales = [
            self.input.scale * float(scale) / self.output.scale for scale in self.weight_scale
        ]
        return [quantize_multiplier(scale) for scale in scales]

    @property
    def multiplier(self) -> Int32[np.ndarray, " c_out"]:
        """Factor of each channel's sum, with `shift`."""
        return np.array([multiplier for multiplier, _ in self._factors], np.int32)

    @property
    def shift(self) -> Int32[np.ndarray, " c_out"]:
        """Positive to the left."""
        return np.array([shift for _, shift in self._factors], np.int32)

    @property
    def folded_bias(self) -> Int32[np.ndarray, " c_out"]:
        """The bias less what the input's zero point adds, so that kernels sum `weight * q`."""
        return (self.bias - self.input.zero_point * self._sums()).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Conv(_Weighted):
    """Convolution; weights (c_out, kh, kw, c_in)."""

    window: Window
    op: ClassVar[str] = "conv"

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.window.in_size, self.weight.shape[3])

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.window.out_size, self.weight.shape[0])

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding counted."""
        return prod(self.window.out_size) * self.weight.size


@dataclass(frozen=True, eq=False)
class Depthwise(_Weighted):
    """One filter a channel; weights (kh, kw, c). May write over its input."""

    window: Window
    op: ClassVar[str] = "depthwise"
    _features_axis: ClassVar[int] = -1

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.window.in_size, self.weight.shape[2])

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(h, w, c)."""
        return (*self.window.out_size, self.weight.shape[2])

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padding counted."""
        return prod(self.window.out_size) * self.weight.size


@dataclass(frozen=True, eq=False)
class Pointwise(_Weighted):
    """A matrix for each position of a map; weights (c_out, c_in)."""

    positions: int
    op: ClassVar[str] = "pointwise"

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(positions, c_in)."""
        return (self.positions, self.weight.shape[1])

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(positions, c_out)."""
        return (self.positions, self.weight.shape[0])

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.positions * self.weight.size


@dataclass(frozen=True, eq=False)
class FullyConnected(_Weighted):
    """A matrix for one vector; weights (c_out, c_in)."""

    op: ClassVar[str] = "fully_connected"

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(c_in,)."""
        return self.weight.shape[1:]

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(c_out,)."""
        return self.weight.shape[:1]

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.weight.size


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
# Kernels that read two tensors.
TWO_INPUTS = ("add", "multiply")
# Kernels whose output may lie where their (first) input does.
IN_PLACE = ("depthwise", "add", "multiply", "table")
