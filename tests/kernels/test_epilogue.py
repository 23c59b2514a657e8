"""Bias and activation in the pass of a convolution, against the same in passes of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.depthwise_conv import api as depthwise
from kernels.dispatch import interpreted
from kernels.epilogue import ACTIVATIONS, finish
from kernels.pointwise_conv import api as pointwise

CHANNELS = 37
# Kernels beyond what one pass holds, and narrower maps than a vector; stride, padding.
DEPTHWISE = ((3, 1, 1, CHANNELS), (5, 2, 2, 70), (9, 1, 4, CHANNELS), (3, 1, 1, 5), (3, 1, 3, 20))
ALL = [*ACTIVATIONS]


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def assert_fused(conv, x, weight, bias, activation, name):
    """`conv(x, weight, bias, activation)` and its gradients equal those of separate passes."""

    def composed(x, weight, bias):
        return finish(conv(x, weight, None, "none"), bias, activation)

    def fused(x, weight, bias):
        return conv(x, weight, bias, activation)

    try:
        with interpreted():
            expected, pull_back = jax.vjp(composed, x, weight, bias)
            np.testing.assert_allclose(jax.jit(fused)(x, weight, bias), expected, atol=2e-5)
            g = normal(*expected.shape, seed=4)
            found, pull = jax.vjp(fused, x, weight, bias)
            np.testing.assert_allclose(found, expected, atol=2e-5)
            for a, b in zip(pull(g), pull_back(g), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-4)
    except NotImplementedError as error:
        pytest.skip(f"{name}: {error}")


@pytest.mark.parametrize("activation", ALL)
@pytest.mark.parametrize("name", [*pointwise.OPERATION.modules])
def test_pointwise(name, activation):
    def conv(x, weight, bias, activation):
        return pointwise.pointwise_conv(
            x, weight, bias=bias, activation=activation, implementation=name
        )

    x, weight, bias = normal(2, 3, 5, 20), normal(20, CHANNELS, seed=1), normal(CHANNELS, seed=2)
    assert_fused(conv, x, weight, bias, activation, name)


# Those that leave it to XLA take a second each to compile.
CASES = [("cpu", case, activation) for case in DEPTHWISE for activation in ALL]
CASES += [(name, DEPTHWISE[1], "relu6") for name in depthwise.OPERATION.modules if name != "cpu"]


@pytest.mark.parametrize(("name", "case", "activation"), CASES, ids=str)
def test_depthwise(name, case, activation):
    kernel, stride, padding, channels = case

    def conv(x, weight, bias, activation):
        return depthwise.depthwise_conv(
            x, weight, stride, padding, bias=bias, activation=activation, implementation=name
        )

    x, weight = normal(2, 6, 5, channels), normal(kernel, kernel, channels, seed=1)
    assert_fused(conv, x, weight, normal(channels, seed=2), activation, name)


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_each_of_a_batch_of_networks_has_its_own_bias(name):
    x, weights, biases = normal(2, 4, 4, 20), normal(3, 3, 20), normal(3, 20)

    def one(weight, bias):
        return depthwise.depthwise_conv(
            x, weight, 1, 1, bias=bias, activation="relu", implementation=name
        )

    kernels = jnp.stack([weights, -weights, weights[::-1]])
    try:
        found = jax.vmap(one)(kernels, biases)
    except NotImplementedError as error:
        pytest.skip(str(error))
    for i in range(3):
        np.testing.assert_allclose(found[i], one(kernels[i], biases[i]), atol=2e-5)


@pytest.mark.parametrize("name", [*pointwise.OPERATION.modules])
def test_dead_outputs_do_not_matter(name):
    x, weight, bias = normal(4, 20), normal(20, CHANNELS), normal(CHANNELS)
    live = jnp.array((7, 18), jnp.int32)
    bias = bias.at[18:].set(jnp.nan)
    try:
        with interpreted():
            y = pointwise.pointwise_conv(
                x, weight, live, bias=bias, activation="hswish", implementation=name
            )
    except NotImplementedError as error:
        pytest.skip(str(error))
    expected = ACTIVATIONS["hswish"](x[:, :7] @ weight[:7, :18] + bias[None, :18])
    np.testing.assert_allclose(y[:, :18], expected, atol=2e-5)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"pointwise_conv: no activation 'swish'; there are"):
        pointwise.pointwise_conv(normal(2, 4), normal(4, 4), activation="swish")
