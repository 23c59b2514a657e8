import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.dispatch import interpreted
from kernels.pointwise_conv import api

TOLERANCE = 1e-5
# Rows (as a shape), input and output channels: whole and broken tiles, panels and parts.
SHAPES = (
    ((5, 14, 14), 16, 64),
    ((2, 28, 28), 96, 24),
    ((128, 1, 1), 160, 40),
    ((3, 7, 7), 40, 160),
    ((1, 3, 3), 7, 5),
    ((1, 1, 1), 1, 1),
    ((9,), 33, 47),
    ((4, 9, 9), 17, 33),
    ((2, 5, 5), 130, 12),
)


def arrays(rows, inputs, outputs, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((*rows, inputs), (inputs, outputs), (*rows, outputs))
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def values(name, x, weight, g, active=None):
    """Result and both gradients; skips the test where there is no compiler."""

    def run(x, weight, g, active):
        y, pull_back = jax.vjp(
            lambda x, weight: api.pointwise_conv(x, weight, active, implementation=name), x, weight
        )
        return (y, *pull_back(g))

    try:
        with interpreted():
            return jax.jit(run)(x, weight, g, active)
    except NotImplementedError as error:
        pytest.skip(str(error))


def assert_equal(found, expected):
    for what, a, b in zip(("y", "dx", "dw"), found, expected, strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, atol=TOLERANCE * scale, rtol=0, err_msg=what)


# Pallas' interpreter is slow: whole and broken blocks, one and several.
CASES = [(name, shape) for name in ("cpu", "reference") for shape in SHAPES]
CASES += [("pallas_tpu", SHAPES[i]) for i in (2, 4, 7)]


@pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
def test_equals_a_matrix_product(name, shape):
    x, weight, g = arrays(*shape)
    rows = np.asarray(x, np.float64).reshape(-1, shape[1])
    pulled = np.asarray(g, np.float64).reshape(-1, shape[2])
    w = np.asarray(weight, np.float64)
    expected = ((rows @ w).reshape(g.shape), (pulled @ w.T).reshape(x.shape), rows.T @ pulled)
    assert_equal(values(name, x, weight, g), expected)


@pytest.mark.parametrize("active", [(16, 20), (1, 47), (33, 1), (17, 33)], ids=str)
@pytest.mark.parametrize("name", [*api.OPERATION.modules])
def test_what_dead_channels_hold_changes_nothing(name, active):
    x, weight, g = arrays((3, 5, 5), 33, 47)
    live_in, live_out = active
    small = values("reference", x[..., :live_in], weight[:live_in, :live_out], g[..., :live_out])
    x = x.at[..., live_in:].set(jnp.nan)
    g = g.at[..., live_out:].set(1e9)
    weight = weight.at[live_in:].set(1e9).at[:, live_out:].set(-1e9)
    y, dx, dw = values(name, x, weight, g, jnp.array(active, jnp.int32))
    assert_equal((y[..., :live_out], dx[..., :live_in], dw[:live_in, :live_out]), small)
    for dead in (dw[live_in:], dw[:, live_out:]):
        np.testing.assert_array_equal(dead, 0)


@pytest.mark.parametrize("active", [(0, 20), (8, 0)], ids=str)
@pytest.mark.parametrize("name", [*api.OPERATION.modules])
def test_nothing_lives(name, active):
    y, dx, dw = values(name, *arrays((3, 5, 5), 33, 47), active=jnp.array(active, jnp.int32))
    for found in (y[..., : active[1]], dx[..., : active[0]], dw):
        np.testing.assert_array_equal(found, 0)


# Images of less and of more pixels than a tile has rows.
@pytest.mark.parametrize("edge", [2, 9])
@pytest.mark.parametrize("name", [*api.OPERATION.modules])
def test_scale_equals_a_product_before(name, edge):
    x, weight, g = arrays((7, edge, edge), 33, 20)
    scale, bias = arrays((7,), 33, 20, seed=1)[0], arrays((), 1, 20)[2]
    live = jnp.array((18, 13), jnp.int32)

    def loss(x, weight, scale, bias, fused, activation):
        product = x if fused else x * scale[:, None, None]
        y = api.pointwise_conv(
            product,
            weight,
            live,
            scale=scale if fused else None,
            bias=bias,
            activation=activation,
            implementation=name if fused else "reference",
        )
        return jnp.sum((y * g)[..., :13])

    dirty = scale.at[:, 18:].set(jnp.nan)
    try:
        for activation in ("none", "hswish"):
            with interpreted():
                grad = jax.value_and_grad(loss, (0, 1, 2, 3))
                value, found = grad(x, weight, dirty, bias, True, activation)
            expected_value, expected = grad(x, weight, scale, bias, False, activation)
            np.testing.assert_allclose(value, expected_value, rtol=1e-4)
            np.testing.assert_allclose(found[0][..., :18], expected[0][..., :18], atol=1e-4)
            np.testing.assert_allclose(found[1], expected[1], atol=1e-3)
            np.testing.assert_allclose(found[2][:, :18], expected[2][:, :18], atol=1e-3)
            np.testing.assert_allclose(found[3][:13], expected[3][:13], atol=1e-3)
    except NotImplementedError as error:
        pytest.skip(str(error))


# Two rows are fewer than a TPU's kernel can load.
@pytest.mark.parametrize("rows", [(3, 5, 5), (2, 1, 1)])
def test_bfloat16(rows):
    name = "pallas_tpu"
    x, weight, g = (a.astype(jnp.bfloat16) for a in arrays(rows, 33, 47))
    found = values(name, x, weight, g)
    assert {a.dtype for a in found} == {jnp.dtype(jnp.bfloat16)}
    for a, b in zip(found, values("reference", x, weight, g), strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        np.testing.assert_allclose(a, b, atol=0.02 * np.abs(b).max())


@pytest.mark.parametrize("name", ["cpu", "pallas_tpu"])
def test_vmap_over_maps_weights_and_sizes(name):
    x, weight, g = arrays((3, 4, 4), 9, 20)
    active = jnp.array(((9, 20), (4, 7)), jnp.int32)
    weights = jnp.stack((weight, weight * jnp.float32(2)))
    batched = jax.vmap(lambda w, a: values(name, x, w, g, a))(weights, active)
    for i, (live_in, live_out) in enumerate(active.tolist()):
        one = values(name, x, weights[i], g, active[i])
        for found, expected, width in zip(batched, one, (live_out, live_in, None), strict=True):
            a, b = found[i][..., :width], expected[..., :width]
            np.testing.assert_allclose(a, b, atol=TOLERANCE * float(np.abs(b).max()))


def test_other_types_are_refused_with_the_reason():
    x, weight, _ = arrays((2, 2), 4, 4)
    with pytest.raises(NotImplementedError, match=r"pointwise_conv can't run .* float32 only"):
        api.pointwise_conv(x.astype(jnp.bfloat16), weight, implementation="cpu")
