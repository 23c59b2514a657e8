import numpy as np
import pytest

from nas.testing.search_suite import BlockSpace
from predictors import matern
from predictors.process import condition
from predictors.scaling import scaling_of

SPACE = BlockSpace()
SCALING = scaling_of(SPACE)
LAYOUT = SCALING.groups, SCALING.linear
_RNG = np.random.default_rng(0)
X = SCALING(_RNG.permutation(np.unique(SPACE.sample(_RNG, 120), axis=0)))


@pytest.fixture(scope="module")
def z():
    """A smooth function of the features."""
    values = np.sin(2 * X[:, 0]) + X[:, :5].sum(1)
    return (values - values.mean()) / values.std()


@pytest.fixture(scope="module")
def hyper(z):
    return matern.fit(X[:60], z[:60], *LAYOUT)


def test_estimates_what_it_has_not_seen_in_either_precision(z, hyper):
    process = condition(X[:60], z[:60], *LAYOUT, hyper)
    mean, variance = process.marginals(X[60:])
    assert np.corrcoef(mean, z[60:])[0, 1] > 0.7
    assert np.mean(np.abs(mean - z[60:]) < 2.6 * np.sqrt(variance) + 0.3) > 0.9
    np.testing.assert_allclose(process.mean(X[60:]), mean, atol=1e-9)
    np.testing.assert_allclose(process.mean(X[60:].astype(np.float32)), mean, atol=1e-3)


def test_the_posterior_is_that_of_the_textbook(z, hyper):
    process = condition(X[:60], z[:60], *LAYOUT, hyper)
    mean, variance = process.marginals(X[60:])
    told, cross, own = (
        matern.covariance(hyper, a, b, *LAYOUT)
        for a, b in ((X[:60], X[:60]), (X[60:], X[:60]), (X[60:], X[60:]))
    )
    told += hyper.noise * np.eye(60)
    np.testing.assert_allclose(mean, cross @ np.linalg.solve(told, z[:60]), atol=1e-8)
    want = own - cross @ np.linalg.solve(told, cross.T)
    np.testing.assert_allclose(variance, np.diag(want), atol=1e-8)


def test_left_out_estimates_are_those_of_processes_without_the_label(z, hyper):
    rest = np.arange(30) != 7
    without = condition(X[:30][rest], z[:30][rest], *LAYOUT, hyper).mean(X[[7]])
    left_out = condition(X[:30], z[:30], *LAYOUT, hyper).left_out
    np.testing.assert_allclose(left_out[7], without[0], rtol=1e-6)


def test_samples_have_the_posterior_moments(z, hyper):
    process = condition(X[:40], z[:40], *LAYOUT, hyper)
    draws = process.draws(np.random.default_rng(1), X[40:50], 20_000)
    mean, variance = process.marginals(X[40:50])
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(draws.std(0), np.sqrt(variance), rtol=0.03)


def test_samples_of_equal_rows_are_equal(z, hyper):
    process = condition(X[:40], z[:40], *LAYOUT, hyper)
    draws = process.draws(np.random.default_rng(1), X[[50, 50]], 100)
    np.testing.assert_allclose(draws[:, 0], draws[:, 1], atol=0.03)


def test_gradient_of_the_evidence(z):
    """Against differences, at a point away from the optimum."""
    squared = [matern._squared_distances(X[:20], X[:20])]
    inner = X[:20] @ X[:20].T
    theta = np.array([0.3, -0.5, -2.0, 0.2])
    _, gradient = matern._evidence(theta, squared, inner, z[:20])
    step = 1e-5
    for i, found in enumerate(gradient):
        up, down = theta.copy(), theta.copy()
        up[i] += step
        down[i] -= step
        high, low = (matern._evidence(t, squared, inner, z[:20])[0] for t in (up, down))
        np.testing.assert_allclose(found, (high - low) / (2 * step), rtol=1e-5)
