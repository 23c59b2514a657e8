import jax
import jax.numpy as jnp
import numpy as np
import pytest

from predictors.losses import LOSSES, check_loss
from predictors.metrics import kendall_tau
from search_spaces.errors import InputError

RNG = np.random.default_rng(0)
Y = jnp.asarray(RNG.standard_normal(40), jnp.float32)
ONES = jnp.ones(40, jnp.float32)


@pytest.mark.parametrize("name", LOSSES)
def test_hidden_labels_change_nothing(name):
    outputs = jnp.asarray(RNG.standard_normal(40), jnp.float32)
    weights = ONES.at[:15].set(0)
    spoilt = Y.at[:15].set(1e3)
    assert LOSSES[name](outputs, spoilt, weights) == LOSSES[name](outputs, Y, weights)
    alone = LOSSES[name](outputs[15:], Y[15:], ONES[15:])
    assert LOSSES[name](outputs, Y, weights) == pytest.approx(float(alone), rel=1e-5)
    assert LOSSES[name](outputs, Y, 0 * ONES) == 0


@pytest.mark.parametrize("name", ["pairwise", "diffkendall"])
def test_only_differences_of_outputs_count_and_equal_labels_not_at_all(name):
    outputs = jnp.asarray(RNG.standard_normal(40), jnp.float32)
    shifted = LOSSES[name](outputs + 3, Y, ONES)
    assert shifted == pytest.approx(float(LOSSES[name](outputs, Y, ONES)), rel=1e-4)
    assert LOSSES[name](outputs, 0 * Y, ONES) == 0


@pytest.mark.parametrize("name", LOSSES)
def test_descending_a_loss_brings_outputs_into_the_order_of_the_labels(name):
    outputs = jnp.asarray(RNG.standard_normal(40), jnp.float32)
    gradient = jax.jit(jax.grad(LOSSES[name]))
    for _ in range(300):
        outputs = outputs - 10 * gradient(outputs, Y, ONES)
    assert kendall_tau(np.asarray(Y, np.float64), np.asarray(outputs, np.float64)) > 0.95


def test_pairwise_is_that_of_the_paper():
    outputs, y = jnp.array([0.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 2.0])
    ahead = np.array([0 - 1, 3 - 0, 3 - 1], float)
    expected = np.log1p(np.exp(-ahead)).mean()
    assert LOSSES["pairwise"](outputs, y, jnp.ones(3)) == pytest.approx(expected, rel=1e-5)


def test_steep_diffkendall_is_minus_kendall():
    outputs = jnp.asarray(RNG.standard_normal(40), jnp.float32)
    tau = kendall_tau(np.asarray(Y, np.float64), np.asarray(outputs, np.float64))
    steep = LOSSES["diffkendall"](outputs * 1e4, Y * 1e4, ONES)
    assert steep == pytest.approx(-tau, abs=1e-5)


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match="pairwise"):
        check_loss("pairwis")
