import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.epilogue import ACTIVATIONS
from kernels.inverted_residual import api
from kernels.inverted_residual.specs import SPECS, Spec

BY_NAME = {spec.name: spec for spec in SPECS}


def run(name, x, weights, spec, activation="relu", active=None):
    def call(x, weights, active):
        return api.inverted_residual(
            x,
            weights,
            spec.stride,
            spec.kernel // 2,
            activation,
            spec.adds,
            active,
            implementation=name,
        )

    try:
        return jax.jit(call)(x, weights, active)
    except NotImplementedError as error:
        pytest.skip(str(error))


def operands(spec, batch=5):
    x, *arrays = spec.operands(batch, jax.random.key(0))
    return x, spec.weights(arrays)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_equals_its_parts(spec):
    x, weights = operands(spec)
    assert_close(run("cpu", x, weights, spec), run("reference", x, weights, spec))


@pytest.mark.parametrize("activation", [*ACTIVATIONS])
def test_activations(activation):
    spec = SPECS[-1]
    x, weights = operands(spec)
    assert_close(
        run("cpu", x, weights, spec, activation), run("reference", x, weights, spec, activation)
    )


@pytest.mark.parametrize("batch", [1, 40])
def test_any_number_of_images(batch):
    spec = Spec(6, 8, 40, 8)
    x, weights = operands(spec, batch)
    assert_close(run("cpu", x, weights, spec), run("reference", x, weights, spec))


ACTIVE = [(17, 3, 20, 17), (9, 1, 50, 5), (17, 3, 0, 17), (9, 1, 20, 17, 13), (17, 3, 50, 5, 6)]


@pytest.mark.parametrize("active", ACTIVE, ids=str)
@pytest.mark.parametrize("name", [*api.OPERATION.modules])
def test_active_equals_the_smaller_block(name, active):
    spec = Spec(9, 17, 50, 17, squeezed=13 if len(active) > 4 else 0)
    i, k, e, o, *_ = active
    r = active[4] if spec.squeezed else 0
    x, whole = operands(spec)
    assert whole.expand is not None
    assert whole.expand_bias is not None
    edge = (spec.kernel - k) // 2
    middle = slice(edge, spec.kernel - edge)
    small = api.Weights(
        whole.expand[:i, :e],
        whole.expand_bias[:e],
        whole.depthwise[middle, middle, :e],
        whole.depthwise_bias[:e],
        whole.project[:e, :o],
        whole.project_bias[:o],
    )
    if spec.squeezed:
        assert whole.squeeze is not None
        assert whole.squeeze_bias is not None
        assert whole.excite is not None
        assert whole.excite_bias is not None
        small = small._replace(
            squeeze=whole.squeeze[:e, :r],
            squeeze_bias=whole.squeeze_bias[:r],
            excite=whole.excite[:r, :e],
            excite_bias=whole.excite_bias[:e],
        )
    taps = jnp.zeros_like(whole.depthwise).at[middle, middle].set(whole.depthwise[middle, middle])
    inner = Spec(9, i, e, o, kernel=k, squeezed=r)
    y = run(name, x, whole._replace(depthwise=taps), spec, active=jnp.array(active, jnp.int32))
    if e == 0:
        expected = jnp.broadcast_to(whole.project_bias, x.shape) + x
    else:
        expected = run("reference", x[..., :i], small, inner)
        if inner.adds != spec.adds:
            expected = expected + x[..., :o]
    assert_close(y[..., :o], expected)


def test_its_gradient_is_that_of_its_parts():
    spec = BY_NAME["9x9x17_50_17_k3_s1_se13"]
    x, weights = operands(spec, 2)

    def loss(name):
        return jax.grad(lambda x, w: jnp.sum(jnp.sin(run(name, x, w, spec, "hswish"))), (0, 1))

    found, expected = (jax.tree.leaves(loss(name)(x, weights)) for name in ("cpu", "reference"))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


def test_no_images_are_left_to_the_parts():
    spec = Spec(6, 8, 40, 8)
    x, weights = operands(spec, 1)
    with pytest.raises(NotImplementedError, match="no images"):
        api.inverted_residual(x[:0], weights, 1, 1, "relu", True, implementation="cpu")
    assert api.inverted_residual(x[:0], weights, 1, 1, "relu", True).shape == (0, 6, 6, 8)
