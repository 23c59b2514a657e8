"""Proxies against what they are by hand, on networks small enough for that."""

from dataclasses import dataclass
from functools import cache, cached_property

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.testing.predictor_suite import SPACE as CONDITIONAL
from predictors import registry, zero_cost
from predictors.metrics import kendall_tau
from predictors.zero_cost import Untrained, ZeroCost
from search_spaces.choices import Choices
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.space import Knob, SearchSpace


@dataclass(frozen=True)
class _Dense(SearchSpace):
    """Layers without biases, with or without ReLUs between them."""

    name = "dense"
    version = 1

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("width", (3, 4)), Knob("rectified", (0, 1)))

    def define(self, b: Builder) -> Tensor:
        x = b.input("image", (2, 2, 3))
        width, rectified = int(b.pick("width")), bool(b.pick("rectified"))
        with b.block("first"):
            x = b.pointwise("layer", x, width)
            x = b.activation("act", x, "relu") if rectified else x
        with b.block("last"):
            x = b.node("pool", "global_pool", (x,))
            x = b.node("flat", "reshape", (x,), shape=(width,))
            return b.dense("layer", x, 2, bias=False)


SPACE = _Dense()
IMAGES = np.random.default_rng(0).standard_normal((5, 2, 2, 3)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0, 1])


@cache
def _net(rectified: int) -> Untrained:
    graph = SPACE.build(np.array([1, rectified]))
    return Untrained(graph, jnp.asarray(IMAGES), jnp.asarray(LABELS), jax.random.key(0))


def _weights(net: Untrained) -> tuple[jax.Array, jax.Array]:
    return net.params["first/layer"]["weight"], net.params["last/layer"]["weight"]


def _by_hand(first, last, images, rectified):
    """Logits, straight from the definition."""
    hidden = jnp.einsum("nhwc,cd->nhwd", images, first)
    hidden = jnp.maximum(hidden, 0) if rectified else hidden
    return jnp.einsum("nd,do->no", hidden.mean((1, 2)), last), hidden


def _loss(weights, rectified, factor=None):
    first, last = weights
    hidden = jnp.einsum("nhwc,cd->nhwd", jnp.asarray(IMAGES), first)
    hidden = jnp.maximum(hidden, 0) if rectified else hidden
    hidden = hidden if factor is None else hidden * factor
    logits = jnp.einsum("nd,do->no", hidden.mean((1, 2)), last)
    log = logits - jax.nn.logsumexp(logits, axis=1)[:, None]
    return -jnp.mean(log[np.arange(5), LABELS])


def test_synflow_of_linear_layers_is_the_product_of_absolute_weights():
    net = _net(0)
    first, last = map(np.abs, map(np.asarray, _weights(net)))
    product = (first @ last).sum()
    assert zero_cost.synflow(net) == pytest.approx(np.log(2 * product), rel=1e-5)


def test_gradients_of_the_loss():
    net = _net(1)
    weights = _weights(net)
    gradient = jax.grad(_loss)(weights, True)
    norm = np.sqrt(sum(float((g**2).sum()) for g in gradient))
    assert zero_cost.grad_norm(net) == pytest.approx(norm, rel=1e-4)
    saliency = sum(float(jnp.abs(w * g).sum()) for w, g in zip(weights, gradient, strict=True))
    assert zero_cost.snip(net) == pytest.approx(saliency, rel=1e-4)


def test_grasp_is_the_hessian_times_the_gradient():
    net = _net(0)
    weights = _weights(net)
    of_loss = jax.grad(lambda w: _loss(w, 0))
    gradient = of_loss(weights)
    product = jax.jvp(of_loss, (weights,), (gradient,))[1]
    exact = -sum(float((w * h).sum()) for w, h in zip(weights, product, strict=True))
    assert zero_cost.grasp(net) == pytest.approx(exact, rel=2e-2)


def test_fisher_is_the_squared_sum_over_a_map():
    net = _net(1)
    gradient = jax.grad(lambda f: _loss(_weights(net), 1, f))(jnp.ones((5, 2, 2, 4)))
    summed = 5 * np.asarray(gradient).sum((1, 2))
    assert zero_cost.fisher(net) == pytest.approx((summed**2).sum() / 10, rel=1e-4)


def test_naswot_counts_agreements():
    net = _net(1)
    on = np.asarray(_by_hand(*_weights(net), jnp.asarray(IMAGES), True)[1] > 0).reshape(5, -1)
    kernel = (on[:, None] == on[None]).sum(-1) + 1e-6 * np.eye(5) * on.shape[1]
    assert zero_cost.naswot(net) == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-5)
    assert zero_cost.naswot(_net(0)) == 0


def test_jacob_cov_of_images_with_equal_gradients_is_that_of_equal_rows():
    """A linear network has one gradient for all images: the correlations are all 1."""
    values = np.array([5.0, 0, 0, 0, 0]) + 1e-5
    assert zero_cost.jacob_cov(_net(0)) == pytest.approx(
        -(np.log(values) + 1 / values).sum(), rel=1e-2
    )
    assert zero_cost.jacob_cov(_net(1)) > zero_cost.jacob_cov(_net(0))


def test_zen_of_a_linear_layer_is_what_the_layer_does_to_noise():
    net = _net(0)
    noise = jax.random.normal(jax.random.split(net.key)[1], IMAGES.shape)
    change = jnp.abs(1e-2 * jnp.einsum("nhwc,cd->nhwd", noise, _weights(net)[0]))
    expected = np.log(float(change.sum()) / 5)
    assert zero_cost.zen(net) == pytest.approx(expected, abs=1e-3)


def test_equal_networks_are_run_once(monkeypatch):
    runs = []

    def count(net: Untrained) -> float:
        runs.append(net)
        return float(len(runs))

    monkeypatch.setattr(zero_cost, "_PROXIES", {"count": count})
    proxies = ZeroCost(SPACE, ["count"], IMAGES, LABELS)
    archs = np.array([[0, 0], [1, 0], [0, 0]])
    first = proxies.raw(archs)
    assert first[0] == first[2] != first[1]
    assert np.array_equal(proxies.raw(archs), first)
    assert len(runs) == 2
    # All four architectures of the space set the unit.
    assert np.abs(proxies(archs)).max() < 3
    assert len(runs) == 4


@pytest.mark.parametrize("kind", ["gaussian_process", "boosting", "auto"])
def test_predictors_learn_from_extra_features(kind, tmp_path):
    """A label that the choices say nothing of, but the extra feature all."""

    class Told:
        names = ("secret",)

        def __call__(self, archs: np.ndarray) -> np.ndarray:
            return np.sin(1e3 * archs @ np.arange(1.0, archs.shape[1] + 1))[:, None]

    archs = CONDITIONAL.sample(np.random.default_rng(0), 80)
    y = Told()(archs)[:, 0]
    blind = registry.create(kind, CONDITIONAL)
    seeing = registry.create(kind, CONDITIONAL, extra=Told())
    blind.learn(archs[:60], y[:60])
    seeing.learn(archs[:60], y[:60])
    new = archs[60:]
    assert kendall_tau(y[60:], seeing.predict(new).mean) > 0.7
    assert kendall_tau(y[60:], blind.predict(new).mean) < 0.5
    seeing.save(tmp_path)
    loaded = registry.load(tmp_path, CONDITIONAL, extra=Told())
    assert np.array_equal(loaded.predict(new).mean, seeing.predict(new).mean)


@pytest.mark.exhaustive
def test_every_proxy_of_a_real_network_is_finite():
    from search_spaces import registry

    space = registry.create("nasbench201", widths=(4, 8), cells=1, resolution=(8,))
    images = np.random.default_rng(1).standard_normal((4, 8, 8, 3)).astype(np.float32)
    proxies = ZeroCost(space, zero_cost.NAMES, images, np.arange(4))
    found = proxies.raw(space.sample(np.random.default_rng(0), 2))
    assert found.shape == (2, len(zero_cost.NAMES))
    assert np.isfinite(found).all()


def test_what_can_not_be_is_told():
    with pytest.raises(InputError, match="did you mean 'synflow'"):
        ZeroCost(SPACE, ["sinflow"], IMAGES, LABELS)
    with pytest.raises(InputError, match="draws no networks"):
        ZeroCost(Choices({"a": (1, 2)}), ["snip"], IMAGES, LABELS)
