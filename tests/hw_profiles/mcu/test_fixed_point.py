import numpy as np
import pytest

from hw_profiles.mcu.fixed_point import (
    divide_rounding,
    doubling_high_multiply,
    exp_of_negative,
    multiply,
    quantize_multiplier,
    reciprocal,
    rounding_divide_by_power,
)


@pytest.mark.parametrize("real", [1.0, 0.75, 3.1, 1e-3, 0.999999999999, 2.0**-31])
def test_a_factor_keeps_31_bits(real: float) -> None:
    multiplier, shift = quantize_multiplier(real)
    assert 1 << 30 <= multiplier < 1 << 31
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(real, rel=2.0**-31)


@pytest.mark.parametrize("real", [0.0, 2.0**-40])
def test_what_is_too_small_becomes_zero(real: float) -> None:
    assert quantize_multiplier(real) == (0, 0)


def test_halves_go_away_from_zero_when_shifted() -> None:
    x = np.array([-3, -2, -1, 1, 2, 3, 5])
    assert rounding_divide_by_power(x, 1).tolist() == [-2, -1, -1, 1, 1, 2, 3]
    assert rounding_divide_by_power(x, 0).tolist() == x.tolist()


def test_the_high_multiply_rounds_halves_up_and_saturates() -> None:
    assert doubling_high_multiply(np.array([1, -1, 3, -3]), 1 << 30).tolist() == [1, 0, 2, -1]
    low = np.array(-(1 << 31))
    assert doubling_high_multiply(low, low) == (1 << 31) - 1


def test_multiplying_is_within_one_of_the_real_product() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-(1 << 20), 1 << 20, 1000)
    for real in rng.uniform(1e-5, 2.0, 20):
        made = multiply(x, *quantize_multiplier(real))
        assert np.abs(made - x * real).max() <= 1.0


def test_means_of_odd_totals() -> None:
    assert divide_rounding(np.array([5, -5, 4, 0]), 2).tolist() == [3, -3, 2, 0]


def test_exponentials_and_reciprocals_follow_the_real_ones() -> None:
    x = -np.linspace(0, 20, 500)
    raw = np.round(x * (1 << 26)).astype(np.int64)
    assert np.abs(exp_of_negative(raw) / 2.0**31 - np.exp(x)).max() < 1e-6
    for value in (0.3, 1.0, 7.7, 900.0):
        scale, over_unit = reciprocal(round(value * (1 << 19)), 12)
        assert scale / 2.0**31 * 2.0**-over_unit == pytest.approx(1 / value, rel=1e-5)
