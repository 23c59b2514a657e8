import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.testing.predictor_suite import SPACE
from predictors import graph_transformer, registry
from predictors.flow_transformer import FlowTransformer
from predictors.metrics import kendall_tau


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A network that is soon compiled."""
    monkeypatch.setattr(graph_transformer, "_NETWORK", FlowTransformer(width=8, layers=1))


def inputs(n=3, t=4, seed=0):
    rng = np.random.default_rng(seed)
    tokens = jnp.asarray(rng.standard_normal((n, t, 5)), jnp.float32)
    return tokens, jnp.triu(jnp.ones((n, t, t))), jnp.zeros((n, 2))


def apply(network, parameters, given):
    return np.asarray(network.apply(parameters, given))


def test_dead_tokens_reach_nothing():
    tokens, flow, known = inputs()
    flow = flow.at[:, 2, :].set(0).at[:, :, 2].set(0)
    network = FlowTransformer(width=8, layers=2)
    parameters = jax.jit(network.init)(jax.random.key(0), (tokens, flow, known))
    other = tokens.at[:, 2].set(100)
    first, second = (apply(network, parameters, (x, flow, known)) for x in (tokens, other))
    assert np.array_equal(first, second)
    third = apply(network, parameters, (other.at[:, 1].add(1), flow, known))
    assert not np.allclose(first, third)


def test_the_flow_matters():
    tokens, flow, known = inputs()
    network = FlowTransformer(width=8, layers=1)
    parameters = jax.jit(network.init)(jax.random.key(0), (tokens, flow, known))
    parallel = flow * jnp.eye(4)[None]
    chain, apart = (apply(network, parameters, (tokens, f, known)) for f in (flow, parallel))
    assert not np.allclose(chain, apart)


@pytest.mark.exhaustive
def test_learns_stores_and_reads(tmp_path):
    archs = SPACE.sample(np.random.default_rng(0), 120)
    y = SPACE.metric(archs)
    predictor = registry.create("graph_transformer", SPACE, loss="pairwise")
    predictor.learn(archs[:80], y[:80])
    found = predictor.predict(archs[80:])
    assert kendall_tau(y[80:], found.mean) > 0.75
    predictor.save(tmp_path)
    again = registry.load(tmp_path, SPACE).predict(archs[80:])
    assert np.array_equal(again.mean, found.mean)
    assert np.array_equal(again.std, found.std)


@pytest.mark.exhaustive
def test_pretrained_encoders_are_the_start(monkeypatch):
    monkeypatch.setattr(graph_transformer, "_STEPS", 15)
    monkeypatch.setattr(graph_transformer, "_PRETRAINING_STEPS", 5)
    archs = SPACE.sample(np.random.default_rng(1), 20)
    fitted = []
    for pretrain in (True, False):
        predictor = registry.create("graph_transformer", SPACE, pretrain=pretrain)
        predictor.learn(archs, SPACE.metric(archs))
        fitted.append(predictor.predict(archs).mean)
    assert not np.allclose(*fitted)
