import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.batch_norm import api
from kernels.epilogue import ACTIVATIONS

TOLERANCE = 3e-5
EPSILON = 1e-3
NAMES = tuple(api.OPERATION.modules)
# Whole, broken and several groups of vectors; one row; more rows than parts.
SHAPES = ((5, 14, 14, 64), (2, 7, 7, 24), (128, 1, 1, 160), (3, 9, 9, 7), (1, 1, 1, 33), (40, 130))


def arrays(shape, seed=0):
    rng = np.random.default_rng(seed)
    channels = shape[-1]
    x = rng.normal(rng.normal(0, 3, channels), rng.uniform(0.2, 4, channels), shape)
    vectors = rng.uniform(0.5, 1.5, channels), rng.normal(0, 2, channels)
    return [jnp.asarray(a, jnp.float32) for a in (x, *vectors, rng.normal(size=shape))]


def values(name, x, scale, bias, g, activation="hswish", moments=None, active=None):
    """Result, moments and all gradients; skips the test where there is no compiler."""

    def run(x, scale, bias, g, moments, active):
        def norm(x, scale, bias):
            y, moments_used = api.batch_norm(
                x,
                scale,
                bias,
                epsilon=EPSILON,
                activation=activation,
                moments=moments,
                active=active,
                implementation=name,
            )
            # The moments have gradients too.
            return y, sum(jnp.sum(jnp.sin(moment)) for moment in moments_used), moments_used

        (y, extra, found), pull_back = jax.vjp(norm, x, scale, bias)
        zeros = jax.tree.map(jnp.zeros_like, found)
        return y, *found, *pull_back((g, jnp.ones_like(extra), zeros))

    try:
        return jax.jit(run)(x, scale, bias, g, moments, active)
    except NotImplementedError as error:
        pytest.skip(str(error))


def assert_equal(found, expected):
    names = ("y", "mean", "variance", "dx", "dscale", "dbias")
    for what, a, b in zip(names, found, expected, strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, atol=TOLERANCE * scale, rtol=0, err_msg=what)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation", [*ACTIVATIONS])
def test_equals_the_reference(shape, activation):
    inputs = arrays(shape)
    assert_equal(
        values("cpu", *inputs, activation=activation),
        values("reference", *inputs, activation=activation),
    )


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_definition(name):
    x, scale, bias, g = arrays((6, 5, 5, 20))
    exact = np.asarray(x, np.float64)
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    z = (exact - mean) / np.sqrt(variance + EPSILON) * np.asarray(scale) + np.asarray(bias)
    y, *found = values(name, x, scale, bias, g, "none")[:3]
    np.testing.assert_allclose(y, z, atol=1e-5)
    np.testing.assert_allclose(found[0], mean, atol=1e-5)
    np.testing.assert_allclose(found[1], variance, rtol=1e-5)


def test_a_mean_far_from_zero_does_not_cancel():
    x, scale, bias, g = arrays((8, 7, 7, 20))
    far = x + jnp.float32(1000)
    _, mean, variance, *_ = values("cpu", far, scale, bias, g)
    exact = np.asarray(far, np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("activation", [*ACTIVATIONS])
def test_given_moments(activation):
    x, scale, bias, g = arrays((3, 5, 5, 40))
    moments = bias, scale
    case = (x, scale, bias, g, activation, moments)
    assert_equal(values("cpu", *case), values("reference", *case))


def test_working_in_place_leaves_the_input_alone():
    x, scale, bias, _ = arrays((3, 5, 5, 40))
    before = np.array(x)
    y, _ = api.batch_norm(x, scale, bias, epsilon=EPSILON, moments=(bias, scale))
    np.testing.assert_array_equal(x, before)
    both = jax.jit(lambda x: api.batch_norm(x, scale, bias, epsilon=EPSILON)[0] + x)(x)
    np.testing.assert_array_equal(x, before)
    plain = api.batch_norm(x, scale, bias, epsilon=EPSILON)[0]
    np.testing.assert_allclose(both, plain + x, atol=1e-5)
    assert not np.array_equal(y, before)


@pytest.mark.parametrize("live", [1, 16, 21, 70, 129])
@pytest.mark.parametrize("name", NAMES)
def test_what_dead_channels_hold_changes_nothing(name, live):
    x, scale, bias, g = arrays((3, 5, 5, 130))
    parts = (x[..., :live], scale[:live], bias[:live], g[..., :live])
    small = values("reference", *parts)
    dirty = (x.at[..., live:].set(jnp.nan), scale.at[live:].set(7), bias, g.at[..., live:].set(9))
    found = values(name, *dirty, active=jnp.array(live, jnp.int32))
    assert_equal([a[..., :live] for a in found], small)
    for a in (*found[1:3], *found[4:]):
        np.testing.assert_array_equal(a[live:], 0)


def test_vmap_over_maps_and_sizes():
    x, scale, bias, g = arrays((2, 3, 4, 4, 20))
    active = jnp.array((20, 9), jnp.int32)
    one = jax.jit(lambda x, g, a: values("cpu", x, scale, bias, g, active=a))
    batched = jax.vmap(one)(x, g, active)
    for i in range(2):
        live = int(active[i])
        expected = [a[..., :live] for a in one(x[i], g[i], active[i])]
        assert_equal([a[i][..., :live] for a in batched], expected)


def test_an_unknown_activation():
    x, scale, bias, _ = arrays((2, 4))
    with pytest.raises(ValueError, match=r"no activation 'gelu'; there are: \['none', 'relu'"):
        api.batch_norm(x, scale, bias, epsilon=EPSILON, activation="gelu")
