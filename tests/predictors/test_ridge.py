import numpy as np
import pytest

from predictors import ridge_regression
from predictors.metrics import coverage
from predictors.ridge_regression import fit_ridge


def onehot(rng, n, knobs=6, options=3):
    return np.eye(options, dtype=np.float32)[rng.integers(0, options, (n, knobs))].reshape(n, -1)


def solve(x, y, penalty):
    """Weights and offset from the normal equations with an unpenalised intercept."""
    a = np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(float)
    keep = np.diag([penalty] * x.shape[1] + [0.0])
    return np.linalg.solve(a.T @ a + keep, a.T @ y)


def predict(weights, x):
    return x @ weights[:-1] + weights[-1]


def test_penalty_and_weights_are_those_of_leave_one_out_refits(monkeypatch):
    penalties = np.array([0.01, 0.3, 3.0, 30.0])
    monkeypatch.setattr(ridge_regression, "_PENALTIES", penalties)
    rng = np.random.default_rng(0)
    x = onehot(rng, 40)
    y = x @ rng.standard_normal(x.shape[1]) + 0.7 * rng.standard_normal(40)

    def error(penalty):
        rows = np.arange(40)
        refits = [solve(x[rows != i], y[rows != i], penalty) for i in rows]
        return np.mean([(predict(w, x[i]) - y[i]) ** 2 for i, w in enumerate(refits)])

    best = min(penalties, key=error)
    new = onehot(rng, 20)
    assert 0.01 < best < 30
    assert fit_ridge(x, y).mean(new) == pytest.approx(predict(solve(x, y, best), new))


def test_additive_labels_are_found_exactly():
    rng = np.random.default_rng(1)
    x = onehot(rng, 200)
    weights = rng.standard_normal(x.shape[1])
    new = onehot(rng, 50)
    assert fit_ridge(x, x @ weights).mean(new) == pytest.approx(new @ weights, abs=1e-2)


def test_spread_covers_and_grows_with_leverage():
    rng = np.random.default_rng(2)
    x, new = onehot(rng, 100), onehot(rng, 3000)
    weights = rng.standard_normal(x.shape[1])
    model = fit_ridge(x, x @ weights + rng.standard_normal(100))
    prediction = model.predict(new)
    y = new @ weights + rng.standard_normal(3000)
    assert coverage(y, prediction.mean, prediction.std) == pytest.approx(0.9, abs=0.05)
    assert model.predict(3 * new[:1]).std > prediction.std[:1]
    assert np.array_equal(prediction.mean, model.mean(new))
