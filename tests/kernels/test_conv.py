import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.conv import api
from kernels.conv.specs import SPECS

TOLERANCE = 2e-5
# height, width, input and output channels, kernel, stride, padding
ODD = (
    (9, 6, 3, 33, 5, 1, 2),
    (6, 9, 20, 7, 3, 3, 0),
    (4, 5, 8, 24, 7, 2, 5),
    (3, 3, 5, 5, 1, 2, 0),
)


def arrays(height, width, inputs, outputs, kernel, stride, padding, n=3):
    out = [(size + 2 * padding - kernel) // stride + 1 for size in (height, width)]
    shapes = ((n, height, width, inputs), (kernel, kernel, inputs, outputs), (n, *out, outputs))
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def values(name, x, weight, g, stride, padding, active=None):
    """Result and both gradients; skips the test where there is no compiler."""

    def run(x, weight, g, active):
        def conv(x, weight):
            return api.conv(x, weight, stride, padding, active, implementation=name)

        y, pull_back = jax.vjp(conv, x, weight)
        return (y, *pull_back(g))

    try:
        return jax.jit(run)(x, weight, g, active)
    except NotImplementedError as error:
        pytest.skip(str(error))


def assert_equal(found, expected):
    for what, a, b in zip(("y", "dx", "dw"), found, expected, strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, atol=TOLERANCE * scale, rtol=0, err_msg=what)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_real_shapes(spec):
    padding = spec.kernel // 2
    size = (spec.size, spec.size, spec.inputs, spec.outputs)
    x, weight, g = arrays(*size, spec.kernel, spec.stride, padding)
    expected = values("reference", x, weight, g, spec.stride, padding)
    assert_equal(values("cpu", x, weight, g, spec.stride, padding), expected)


@pytest.mark.parametrize("case", ODD, ids=str)
def test_odd_shapes(case):
    x, weight, g = arrays(*case)
    expected = values("reference", x, weight, g, *case[5:])
    assert_equal(values("cpu", x, weight, g, *case[5:]), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("active", [(3, 7, 20), (5, 12, 3), (1, 1, 24)], ids=str)
@pytest.mark.parametrize("name", [*api.OPERATION.modules])
def test_active_equals_the_smaller_convolution(name, active, stride):
    x, weight, g = arrays(7, 7, 12, 24, 5, stride, 2)
    kernel, inputs, outputs = active
    edge = (5 - kernel) // 2
    inside = (slice(edge, 5 - edge),) * 2 + (slice(inputs), slice(outputs))
    small = weight[inside]
    weight = jnp.zeros_like(weight).at[inside].set(small)
    expected = values("reference", x[..., :inputs], small, g[..., :outputs], stride, 2 - edge)
    dirty = x.at[..., inputs:].set(jnp.nan)
    y, dx, dw = values(name, dirty, weight, g, stride, 2, jnp.array(active, jnp.int32))
    assert_equal((y[..., :outputs], dx[..., :inputs], dw[inside]), expected)


def test_dead_weights_have_no_gradient():
    x, weight, g = arrays(7, 7, 12, 24, 5, 1, 2)
    _, _, dw = values("cpu", x, weight, g, 1, 2, jnp.array((3, 7, 20), jnp.int32))
    np.testing.assert_array_equal(dw[0], 0)
    np.testing.assert_array_equal(dw[:, :, 7:], 0)
    np.testing.assert_array_equal(dw[..., 20:], 0)
    assert np.abs(dw[1:4, 1:4, :7, :20]).min() > 0


def test_other_types_are_refused_with_the_reason():
    x, weight, _ = (array.astype(jnp.bfloat16) for array in arrays(4, 4, 3, 4, 3, 1, 1))
    with pytest.raises(NotImplementedError, match=r"conv can't run here: cpu: float32 only"):
        api.conv(x, weight, 1, 1, implementation="cpu")
