import numpy as np
import pytest

from nas.pareto import hypervolume, nondominated
from nas.search.acquisition import area_gains
from nas.search.models import Models
from nas.search.surrogate import FeatureMap, Posterior, fit_hyperparameters
from nas.search.told import Told
from nas.testing.search_suite import BlockSpace

SPACE = BlockSpace()
RNG = np.random.default_rng(0)
ARCHS = RNG.permutation(np.unique(SPACE.sample(RNG, 120), axis=0))
Y = SPACE.objectives(ARCHS)[:, 0]
Y = (Y - Y.mean()) / Y.std()


def test_ranks_what_it_has_not_seen() -> None:
    x = FeatureMap(SPACE)(ARCHS)
    train = np.arange(len(ARCHS)) % 2 == 0
    hyper = fit_hyperparameters(x.rows(train), Y[train])
    posterior = Posterior(hyper, x.rows(train), Y[train])
    mean, std = posterior.marginals(x.rows(~train))
    assert np.corrcoef(mean, Y[~train])[0, 1] > 0.7
    assert np.mean(np.abs(mean - Y[~train]) < 2.6 * std + 0.3) > 0.9
    np.testing.assert_allclose(posterior.mean(x.rows(~train)), mean, atol=1e-9)
    single = posterior.mean(x.rows(~train).single())
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, mean, atol=1e-3)


def test_left_out_predictions_are_those_of_models_without_the_label() -> None:
    x = FeatureMap(SPACE)(ARCHS[:30])
    hyper = fit_hyperparameters(x, Y[:30])
    rest = np.arange(30) != 7
    without = Posterior(hyper, x.rows(rest), Y[:30][rest]).mean(x.rows([7]))
    np.testing.assert_allclose(Posterior(hyper, x, Y[:30]).left_out[7], without[0], rtol=1e-6)


def test_samples_have_the_posterior_moments() -> None:
    x = FeatureMap(SPACE)(ARCHS)
    posterior = Posterior(fit_hyperparameters(x.rows(slice(40)), Y[:40]), x.rows(slice(40)), Y[:40])
    new = x.rows(slice(40, 50))
    draws = posterior.draws(np.random.default_rng(1), new, 20_000)
    mean, std = posterior.marginals(new)
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.04)
    np.testing.assert_allclose(draws.std(0), std, rtol=0.03)


@pytest.mark.parametrize("n", [0, 1, 30])
def test_area_gains_are_differences_of_hypervolumes(n: int) -> None:
    rng = np.random.default_rng(n)
    known, new, reference = rng.random((n, 2)), rng.random((50, 2)) * 1.3, np.ones(2)
    front = known[nondominated(known)]
    before = hypervolume(front, reference)
    want = [hypervolume(np.concatenate([front, p[None]]), reference) - before for p in new]
    np.testing.assert_allclose(area_gains(new, front, reference), want, atol=1e-12)


def test_models_go_on_from_their_state() -> None:
    F = SPACE.objectives(ARCHS)
    told = Told(ARCHS, F, F[:, 1:] - 2.0)
    models, resumed = Models(SPACE), Models(SPACE)
    models.refit(told.rows(slice(0, 40)))
    models.refit(told.rows(slice(0, 41)))
    resumed.load_state_dict(models.state_dict())
    x = models.features(ARCHS[60:])
    first, second = (each.given(told.rows(slice(0, 50))) for each in (models, resumed))
    assert np.array_equal(first.means(x), second.means(x))
    assert (first.violation(x) >= 0).all()
    assert np.corrcoef(first.violation(x), np.maximum(F[60:, 1] - 2.0, 0))[0, 1] > 0.6
