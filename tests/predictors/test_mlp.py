import jax
import jax.numpy as jnp
import numpy as np
import pytest

from predictors.mlp import MLP, Members, Training, train
from predictors.mlp_ensemble import _calibrate, _standardised

SMALL = Training(hidden=8, steps=120, batch=32, weight_decay=0.0, learning_rate=2e-2)


def network(members=3, features=5):
    keys = jax.random.split(jax.random.key(0), members)
    start = jnp.zeros((1, features), jnp.float32)
    return jax.vmap(lambda key: MLP(8, 2).init(key, start))(keys)


def evaluate(parameters, x):
    return Members(parameters, np.zeros(x.shape[1])).evaluate(x)


@pytest.mark.parametrize("n", [0, 1, 512, 513, 1300])
def test_members_are_evaluated_as_each_alone(n):
    rng = np.random.default_rng(0)
    x, center = rng.standard_normal((n, 5)).astype(np.float32), rng.standard_normal(5)
    parameters = jax.tree.map(lambda leaf: leaf + 0.1, network())
    out = Members(parameters, center).evaluate(x)
    assert out.shape == (3, n)
    centred = jnp.asarray(x - center[None].astype(np.float32))
    for i in range(3):
        member = jax.tree.map(lambda leaf, i=i: leaf[i], parameters)
        plain = np.asarray(MLP(8, 2).apply(member, centred))
        assert out[i] == pytest.approx(plain, rel=1e-4, abs=1e-5)


def test_silu_holds_far_from_zero():
    parameters = network()
    x = 300 * np.eye(5, dtype=np.float32)
    member = jax.tree.map(lambda leaf: leaf[0], parameters)
    plain = np.asarray(MLP(8, 2).apply(member, jnp.asarray(x)))
    assert np.abs(plain).max() > 10
    assert evaluate(parameters, x)[0] == pytest.approx(plain, rel=1e-4, abs=1e-4)


def test_hidden_labels_do_not_reach_a_member():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 5)).astype(np.float32)
    y = x[:, 0]
    spoilt = np.where(np.arange(60) < 20, 1e3, y).astype(np.float32)
    weights = np.ones((2, 60), np.float32)
    weights[0, :20] = 0
    clean, dirty = train(x, y, weights, SMALL, 0), train(x, spoilt, weights, SMALL, 0)
    first, second = evaluate(clean, x), evaluate(dirty, x)
    assert np.array_equal(first[0], second[0])
    assert not np.allclose(first[1], second[1])


def test_members_learn_and_differ():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((200, 5)).astype(np.float32)
    y = (x[:, 0] * x[:, 1]).astype(np.float32)
    outputs = evaluate(train(x, y, np.ones((3, 200), np.float32), SMALL, 0), x)
    assert np.sqrt(np.mean((outputs.mean(0) - y) ** 2)) < 0.4 * y.std()
    assert np.all(np.std(outputs, axis=0).mean() > 1e-3)


def test_the_better_of_members_and_ridge_gets_the_weight():
    rng = np.random.default_rng(3)
    y = rng.standard_normal(500)
    good, bad = y + 0.1 * rng.standard_normal(500), y + rng.standard_normal(500)
    jitter = 0.01 * rng.standard_normal((4, 500))
    assert _calibrate(y, good[None, :] + jitter, bad)[0] > 0.95
    assert _calibrate(y, bad[None, :] + jitter, good)[0] < 0.05


def test_spread_follows_disagreement_where_that_tells_the_error():
    rng = np.random.default_rng(4)
    error = np.where(np.arange(400) < 200, 0.1, 2.0)
    y = np.zeros(400)
    members = error[None, :] * rng.standard_normal((4, 400))
    ridge = error * rng.standard_normal(400)
    _, telling = _calibrate(y, members, ridge)
    _, silent = _calibrate(rng.standard_normal(400), members, ridge + 0 * y)
    assert telling.share > silent.share
    std = telling.std(np.concatenate([members, ridge[None, :]]).var(0, ddof=1))
    assert np.median(std[200:]) > 3 * np.median(std[:200])


def test_members_that_only_order_are_given_one_zero_and_unit():
    x = np.random.default_rng(5).standard_normal((50, 5)).astype(np.float32)
    parameters = network()
    same, expected = _standardised(parameters, evaluate(parameters, x).astype(np.float64))
    outputs = evaluate(same, x)
    assert outputs == pytest.approx(expected, abs=1e-4)
    assert outputs.mean(1) == pytest.approx(np.zeros(3), abs=1e-4)
    assert outputs.std(1) == pytest.approx(np.ones(3), abs=1e-4)
