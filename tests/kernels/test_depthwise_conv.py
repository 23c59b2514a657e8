from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.depthwise_conv import api
from kernels.depthwise_conv.specs import SPECS, Spec
from kernels.dispatch import interpreted
from kernels.epilogue import ACTIVATIONS
from kernels.inventory import in_use

# Sums of up to 49 x 5 x 28 x 28 float32 products in another order.
TOLERANCE = 1e-5
BATCH = 5
# Pallas' interpreter takes seconds: few and small maps.
PALLAS = ("pallas_gpu", "pallas_tpu")
NAMES = tuple(name for name in api.OPERATION.modules if name not in ("reference", *PALLAS))
# XLA's forms take a second each to compile: all shapes in C++, a spread of them in XLA.
FEW = tuple(spec for spec in SPECS if spec.name in ("28x28x16_k3_s1", "14x14x72_k5_s2"))
FEW += tuple(spec for spec in SPECS if spec.name in ("9x9x17_k7_s1", "2x2x288_k3_s2"))
CASES = [("cpu", spec) for spec in SPECS] + [("shift_add", spec) for spec in FEW]
ODD = (
    # height, width, channels, kernel, stride, padding
    (9, 6, 33, 9, 1, 4),
    (9, 6, 33, 11, 2, 5),
    (9, 13, 20, 5, 3, 2),
    (9, 8, 5, 7, 2, 0),
    (5, 6, 20, 3, 1, 4),
    (11, 7, 80, 7, 4, 3),
)
ODD_CASES = [("cpu", case) for case in ODD]
ODD_CASES += [(name, case) for name in PALLAS for case in (ODD[2], ODD[4])]


def arrays(height, width, channels, kernel, stride, padding):
    out = [(size + 2 * padding - kernel) // stride + 1 for size in (height, width)]
    shapes = ((BATCH, height, width, channels), (kernel, kernel, channels))
    rng = np.random.default_rng(0)
    return [
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in (*shapes, (BATCH, *out, channels))
    ]


@cache
def compiled(name, stride, padding):
    def run(x, weight, g, active):
        def conv(x, weight):
            return api.depthwise_conv(x, weight, stride, padding, active, implementation=name)

        y, pull_back = jax.vjp(conv, x, weight)
        return (y, *pull_back(g))

    return jax.jit(run)


def values(name, x, weight, g, stride, padding, active=None):
    """Result and both gradients; skips the test where there is no compiler."""
    try:
        with interpreted():
            return compiled(name, stride, padding)(x, weight, g, active)
    except NotImplementedError as error:
        pytest.skip(str(error))


def assert_equal(found, expected):
    for what, a, b in zip(("y", "dx", "dw"), found, expected, strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, atol=TOLERANCE * scale, rtol=0, err_msg=what)


def name_of(value):
    return value.name if isinstance(value, Spec) else str(value)


@pytest.mark.parametrize(("name", "spec"), CASES, ids=name_of)
def test_real_shapes(name, spec):
    case = (spec.size, spec.size, spec.channels, spec.kernel, spec.stride, spec.padding)
    x, weight, g = arrays(*case)
    expected = values("reference", x, weight, g, spec.stride, spec.padding)
    assert_equal(values(name, x, weight, g, spec.stride, spec.padding), expected)


@pytest.mark.parametrize(("name", "case"), ODD_CASES, ids=str)
def test_odd_shapes(name, case):
    x, weight, g = arrays(*case)
    assert_equal(
        values(name, x, weight, g, *case[4:]), values("reference", x, weight, g, *case[4:])
    )


def live_mask(kernel, channels, active):
    mask = np.zeros((kernel, kernel, channels), bool)
    edge = (kernel - active[0]) // 2
    mask[edge : kernel - edge, edge : kernel - edge, : active[1]] = True
    return mask


ACTIVE = tuple(
    ("cpu", stride, channels, active)
    for stride in (1, 2)
    for channels, active in (
        (70, (3, 40)),
        (70, (5, 17)),
        (24, (1, 20)),
        (12, (3, 5)),
        (130, (7, 65)),
    )
)


@pytest.mark.parametrize(
    ("name", "stride", "channels", "active"),
    [
        *ACTIVE,
        ("shift_add", 1, 40, (3, 21)),
        ("shift_add", 2, 24, (1, 20)),
        *((name, 2, 40, (3, 21)) for name in PALLAS),
    ],
    ids=str,
)
def test_active_equals_the_smaller_convolution(name, stride, channels, active):
    x, weight, g = arrays(9, 9, channels, 7, stride, 3)
    mask = live_mask(7, channels, active)
    weight = jnp.where(mask, weight, jnp.float32(0))
    edge, live = (7 - active[0]) // 2, active[1]
    inner = weight[edge : 7 - edge, edge : 7 - edge, :live]
    small = values("reference", x[..., :live], inner, g[..., :live], stride, 3 - edge)
    y, dx, dw = values(name, x, weight, g, stride, 3, jnp.array(active, jnp.int32))
    assert_equal((y[..., :live], dx[..., :live], dw[mask].reshape(inner.shape)), small)
    np.testing.assert_array_equal(dw[~mask], 0)


@pytest.mark.parametrize("name", PALLAS)
def test_what_dead_channels_hold_does_not_leak(name):
    x, weight, g = arrays(5, 5, 40, 3, 1, 1)
    active = jnp.array((3, 21), jnp.int32)
    weight = jnp.where(live_mask(3, 40, (3, 21)), weight, jnp.float32(0))
    expected = values("reference", x, weight, g, 1, 1, active)
    x, g = (a.at[..., 21:].set(jnp.nan) for a in (x, g))
    found = values(name, x, weight, g, 1, 1, active)
    assert_equal([a[..., :21] for a in found], [a[..., :21] for a in expected])
    for a in found:
        np.testing.assert_array_equal(a[..., 21:], 0)


@pytest.mark.parametrize("name", PALLAS)
def test_bfloat16_with_bias_and_activation(name):
    x, weight, _ = (a.astype(jnp.bfloat16) for a in arrays(5, 6, 20, 3, 2, 1))
    bias = jnp.linspace(-4, 4, 20, dtype=jnp.bfloat16)
    for activation in ACTIVATIONS:
        case = {"bias": bias, "activation": activation}
        with interpreted():
            y = api.depthwise_conv(x, weight, 2, 1, **case, implementation=name)
        assert y.dtype == jnp.bfloat16
        # Rounded once, so that float32 is what it is compared with.
        case["bias"] = bias.astype(jnp.float32)
        wide, tap = x.astype(jnp.float32), weight.astype(jnp.float32)
        expected = api.depthwise_conv(wide, tap, 2, 1, **case, implementation="reference")
        np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("name", [*NAMES, "reference"])
def test_dead_garbage_changes_nothing(name):
    x, weight, g = arrays(7, 7, 40, 5, 1, 2)
    active = jnp.array((3, 21), jnp.int32)
    mask = live_mask(5, 40, (3, 21))
    weight = jnp.where(mask, weight, jnp.float32(0))
    garbage = jnp.where(jnp.arange(40) < 21, jnp.float32(1), jnp.float32(1e9))
    plain = values(name, x, weight, g, 1, 2, active)
    dirty = values(name, x * garbage[None, None, None], weight, g, 1, 2, active)
    for a, b in zip(plain, dirty, strict=True):
        np.testing.assert_array_equal(a[..., :21], b[..., :21])
    np.testing.assert_array_equal(dirty[2][..., 21:], 0)


@pytest.mark.parametrize("name", [*NAMES, *PALLAS])
def test_vmap_over_maps_weights_and_sizes(name):
    x, weight, g = arrays(7, 7, 24, 5, 1, 2)
    active = jnp.array(((3, 24), (5, 9), (1, 17)), jnp.int32)
    scale = jnp.array((1, 2, 3), jnp.float32)
    xs = x[None] * scale[:, None, None, None, None]
    weights = jnp.stack(
        [jnp.where(live_mask(5, 24, tuple(a)), weight, jnp.float32(0)) for a in np.asarray(active)]
    )
    # The gradient `g` is shared: one operand of the backward call has no batch axis.
    batched = jax.vmap(lambda x, w, a: values(name, x, w, g, 1, 2, a))(xs, weights, active)
    for i in range(3):
        one = values(name, xs[i], weights[i], g, 1, 2, active[i])
        live = int(active[i, 1])
        assert_equal([a[i][..., :live] for a in batched], [a[..., :live] for a in one])
    shared = jax.vmap(lambda w, a: values(name, x, w, g, 1, 2, a))(weights, active)
    one = values(name, x, weights[1], g, 1, 2, active[1])
    assert_equal([a[1][..., :9] for a in shared], [a[..., :9] for a in one])


@pytest.mark.parametrize("name", ["cpu"])
def test_same_bits_every_time(name):
    x, weight, g = arrays(14, 14, 72, 5, 1, 2)
    first = values(name, x, weight, g, 1, 2)
    for _ in range(20):
        for a, b in zip(values(name, x, weight, g, 1, 2), first, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["cpu"])
def test_under_checkpoint(name):
    x, weight, _ = arrays(7, 7, 24, 3, 1, 1)

    def loss(weight):
        y = api.depthwise_conv(x, weight, 1, 1, implementation=name)
        return jnp.sum(api.depthwise_conv(y, weight, 1, 1, implementation=name) ** 2)

    plain, kept = jax.jit(jax.grad(loss))(weight), jax.jit(jax.grad(jax.checkpoint(loss)))(weight)
    np.testing.assert_allclose(kept, plain, rtol=TOLERANCE, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_no_images(name):
    x, weight, g = arrays(4, 4, 16, 3, 1, 1)
    y, dx, dw = values(name, x[:0], weight, g[:0], 1, 1)
    assert y.shape == dx.shape == (0, 4, 4, 16)
    np.testing.assert_array_equal(dw, 0)


def test_half_precision_takes_another_form():
    x, weight, _ = arrays(4, 4, 16, 3, 1, 1)
    x, weight = x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    assert api.depthwise_conv(x, weight, 1, 1).dtype == jnp.bfloat16
    with pytest.raises(
        NotImplementedError, match="can't run here: cpu: float32 only, not bfloat16"
    ):
        api.depthwise_conv(x, weight, 1, 1, implementation="cpu")


def test_a_forced_implementation_is_the_one_in_use():
    with api.OPERATION.use("reference"):
        assert in_use("depthwise_conv").name == "reference"
    with (
        pytest.raises(ValueError, match="no implementation 'pallas'"),
        api.OPERATION.use("pallas"),
    ):
        in_use("depthwise_conv")
