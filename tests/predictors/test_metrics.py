import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_profiles.intervals import Z_90
from predictors import metrics


def tau_b(a, b):
    """Kendall 1945, straight from the definition over all pairs."""
    first = np.sign(a[:, None] - a[None, :])
    second = np.sign(b[:, None] - b[None, :])
    power = np.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return (first * second).sum() / power if power else 0.0


@given(st.data())
def test_kendall_is_its_definition(data):
    n = data.draw(st.integers(2, 30))
    column = st.lists(st.integers(-5, 5), min_size=n, max_size=n).map(lambda v: np.array(v, float))
    a, b = data.draw(column), data.draw(column)
    assert metrics.kendall_tau(a, b) == pytest.approx(tau_b(a, b), abs=1e-9)


def test_spearman_sees_order_only():
    y = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.spearman(y, np.exp(y)) == pytest.approx(1)
    assert metrics.spearman(y, -(y**3)) == pytest.approx(-1)


def test_constant_estimates_have_no_order():
    y = np.array([1.0, 2.0, 3.0])
    assert metrics.kendall_tau(y, np.ones(3)) == 0
    assert metrics.spearman(np.ones(3), y) == 0


def test_distances():
    y, estimate = np.array([100.0, -100.0]), np.array([104.0, -112.0])
    assert metrics.rmse(y, estimate) == pytest.approx(np.sqrt((16 + 144) / 2))
    assert metrics.within(y, estimate, 0.05) == 0.5
    assert metrics.within(y, estimate, 0.12) == 1


def test_coverage_of_a_normal_is_ninety_percent():
    y = np.random.default_rng(0).standard_normal(200_000)
    share = metrics.coverage(y, np.zeros_like(y), np.ones_like(y))
    assert share == pytest.approx(0.9, abs=0.003)


def test_intervals_are_as_sharp_as_their_spread():
    assert metrics.half_width(np.array([1.0, 3.0])) == pytest.approx(2 * Z_90)


def test_regret_of_the_chosen_few():
    y = np.array([5.0, 9.0, 7.0])
    assert metrics.regret(y, np.array([3.0, 1.0, 2.0]), 1) == 4
    assert metrics.regret(y, np.array([3.0, 1.0, 2.0]), 2) == 2
    assert metrics.regret(y, np.array([3.0, 1.0, 2.0]), 10) == 0
