"""Integer arithmetic of gemmlowp and TensorFlow Lite, bit for bit, on numpy arrays.

Sources: gemmlowp `fixedpoint/fixedpoint.h`; TensorFlow Lite `kernels/internal/common.h` and
`quantization_util.cc`. Real numbers are a multiplier in [2^30, 2^31) and a power of two.
"""

from math import frexp

import numpy as np

Integers = np.ndarray | np.integer | int
_INT32 = np.iinfo(np.int32)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Multiplier and shift of a factor: `real ~ multiplier * 2^(shift - 31)`.

    Factors below 2^-32 become zero, as in TensorFlow Lite.
    """
    if real == 0:
        return 0, 0
    fraction, shift = frexp(real)
    # C++ rounds halves away from zero, and `fraction` is positive.
    multiplier = int(np.floor(fraction * (1 << 31) + 0.5))
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def doubling_high_multiply(a: Integers, b: Integers) -> np.ndarray:
    """`a * b / 2^31`, rounded to the nearest, halves up; saturating."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    high = (product + (1 << 30)) >> 31
    return np.asarray(np.clip(high, _INT32.min, _INT32.max))


def rounding_divide_by_power(x: Integers, exponent: Integers) -> np.ndarray:
    """`x / 2^exponent`, rounded to the nearest, halves away from zero."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponent) + ((x & mask) > threshold))


def multiply(x: Integers, multiplier: Integers, shift: Integers) -> np.ndarray:
    """`x * multiplier * 2^(shift - 31)` with both roundings (`MultiplyByQuantizedMultiplier`)."""
    left, right = np.maximum(shift, 0), np.maximum(-np.asarray(shift), 0)
    raised = np.asarray(x, np.int64) << np.asarray(left, np.int64)
    return rounding_divide_by_power(doubling_high_multiply(raised, multiplier), right)


def divide_rounding(total: Integers, count: Integers) -> np.ndarray:
    """Mean of integers, halves away from zero (`AveragePool` of TensorFlow Lite)."""
    half = np.asarray(count) // 2
    magnitude = (np.abs(total) + half) // count
    return np.where(np.asarray(total) > 0, magnitude, -magnitude)


def exp_of_negative(a: Integers, integer_bits: int = 5) -> np.ndarray:
    """`exp(a)` with 31 bits behind the point, for `a <= 0` (`exp_on_negative_values`).

    Args:
        a: raw values with `31 - integer_bits` bits behind the point.
        integer_bits: of `a`.
    """
    a = np.asarray(a, np.int64)
    fractional = 31 - integer_bits
    quarter = np.int64(1) << (fractional - 2)
    remainder = (a & (quarter - 1)) - quarter
    result = _exp_near_zero(remainder << integer_bits)
    left = remainder - a
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for exponent, factor in zip(range(-2, 5), factors, strict=True):
        if integer_bits > exponent:
            set_ = (left & (np.int64(1) << (fractional + exponent))) != 0
            result = np.where(set_, doubling_high_multiply(result, factor), result)
    return np.where(a == 0, _INT32.max, result)


def _exp_near_zero(a: np.ndarray) -> np.ndarray:
    """`exp` on [-1/4, 0): a Taylor series around -1/8."""
    constant, third = 1895147668, 715827883
    x = np.asarray(a) + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    x4_quarter = rounding_divide_by_power(x4, 2)
    tail = rounding_divide_by_power(doubling_high_multiply(x4_quarter + x3, third) + x2, 1)
    return np.asarray(constant + doubling_high_multiply(x + tail, constant))


def reciprocal(x: int, integer_bits: int) -> tuple[int, int]:
    """`1 / x` as a raw value with 31 bits behind the point, and how far it was shifted.

    Args:
        x: positive raw value with `31 - integer_bits` bits behind the point.
        integer_bits: of `x`.
    """
    headroom = 32 - int(x).bit_length()
    shifted = np.asarray(((int(x) << headroom) & 0xFFFFFFFF) - (1 << 31), np.int64)
    return int(_one_over_one_plus(shifted)), integer_bits - headroom


def _one_over_one_plus(a: Integers) -> Integers:
    """`1 / (1 + a)` on [0, 1): three steps of Newton's (`one_over_one_plus_x_for_x_in_0_1`)."""
    half_denominator = (a + _INT32.max + 1) >> 1
    x = 1515870810 + doubling_high_multiply(half_denominator, -1010580540)
    for _ in range(3):
        rest = (1 << 29) - doubling_high_multiply(half_denominator, x)
        # Two integer bits times two make four; back to two.
        x = x + np.clip(doubling_high_multiply(x, rest) << 2, _INT32.min, _INT32.max)
    return np.clip(x << 1, _INT32.min, _INT32.max)
