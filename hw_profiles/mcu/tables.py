"""Tables of functions of one int8 value."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int8, Int32

from hw_profiles.mcu.fixed_point import (
    doubling_high_multiply,
    exp_of_negative,
    quantize_multiplier,
    rounding_divide_by_power,
)
from hw_profiles.mcu.layers import LayerError, Quantization

_INT8 = np.arange(-128, 128)


def table_of(
    function: Callable[[np.ndarray], np.ndarray],
    source: Quantization,
    output: Quantization,
) -> Int8[np.ndarray, " 256"]:
    """A function's nearest int8 values, entry `q + 128`, halves to even.

    Args:
        function: of real numbers, elementwise.
        source: of the tensor that is read.
        output: of the tensor that is made.
    """
    made = function((_INT8 - source.zero_point) * source.scale) / output.scale
    return np.clip(np.round(made) + output.zero_point, -128, 127).astype(np.int8)


def hswish_table(source: Quantization, output: Quantization) -> Int8[np.ndarray, " 256"]:
    """`x * relu6(x + 3) / 6` as TensorFlow Lite's HARD_SWISH computes it, in 16 bits.

    Source: `reference/hard_swish.h` and `HardSwishPrepare` of TensorFlow Lite Micro.

    Raises:
        LayerError: the output's step is finer than 1/128 of the input's.
    """
    fine = np.float32(1.0 / 128.0) * np.float32(source.scale)
    out_multiplier, out_shift = _in_16_bits(float(fine / np.float32(output.scale)))
    multiplier, shift = _in_16_bits(float(fine / np.float32(3.0 / 32768.0)))
    if out_shift > 0:
        raise LayerError(f"h-swish from scale {source.scale} to {output.scale}: too fine")
    value = (_INT8 - source.zero_point) << 7
    before_shift = _high_of_16(value, out_multiplier, rounding=True)
    gate = value
    if shift > 0:
        gate = _clip_16(gate << (shift - 1))
    gate = _high_of_16(gate, multiplier, rounding=True)
    if shift > 0:
        gate = _clip_16(gate << 1)
    if shift < 0:
        gate = rounding_divide_by_power(gate, -shift)
    gate = (gate + (1 << 15)) >> 1
    made = rounding_divide_by_power(_high_of_16(gate, before_shift, rounding=False), -out_shift)
    return np.clip(made + output.zero_point, -128, 127).astype(np.int8)


def softmax_exponentials(scale: float) -> Int32[np.ndarray, " 256"]:
    """`exp(-scale * d)` for d = 0..255, 31 bits behind the point; 0 where that is too small.

    Source: `PreprocessSoftmaxScaling`, `CalculateInputRadius` and `reference/softmax.h` of
    TensorFlow Lite.

    Args:
        scale: of the input.
    """
    integer_bits = 5
    factor = min(scale * (1 << (31 - integer_bits)), (1 << 31) - 1.0)
    multiplier, shift = quantize_multiplier(factor)
    radius = ((1 << integer_bits) - 1) * (1 << (31 - integer_bits)) // (1 << shift)
    below = np.arange(256, dtype=np.int64)
    kept = below <= radius
    scaled = doubling_high_multiply(-np.where(kept, below, 0) << shift, multiplier)
    return np.where(kept, exp_of_negative(scaled, integer_bits), 0).astype(np.int32)


def _in_16_bits(real: float) -> tuple[int, int]:
    multiplier, shift = quantize_multiplier(real)
    half = 1 << 15
    return (32767 if multiplier >= (1 << 31) - 1 - half else (multiplier + half) >> 16), shift


def _high_of_16(a: np.ndarray, b: np.ndarray | int, *, rounding: bool) -> np.ndarray:
    """Twice the upper half of a product of 16 bits; without rounding it is cut towards zero."""
    product = np.asarray(a, np.int64) * b
    if rounding:
        return _clip_16((product + (1 << 14)) >> 15)
    return _clip_16(np.sign(product) * (np.abs(product) >> 15))


def _clip_16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -32768, 32767)
