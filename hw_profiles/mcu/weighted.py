"""Layers with weights: int8, one scale an output channel, biases in 32 bits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int8, Int32

from hw_profiles.mcu.fixed_point import quantize_multiplier
from hw_profiles.mcu.tensors import HIGHEST, LOWEST, LayerError, Quantization, Window

# Kernels double accumulators before they scale them.
ACCUMULATOR_LIMIT = 1 << 30


@dataclass(frozen=True, eq=False)
class Weighted:
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
class Conv(Weighted):
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
class Depthwise(Weighted):
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
class Pointwise(Weighted):
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
class FullyConnected(Weighted):
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
