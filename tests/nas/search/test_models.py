import numpy as np

from nas.search.models import Models
from nas.search.seen import Seen
from nas.search.told import Told
from nas.testing.search_suite import BlockSpace

SPACE = BlockSpace()
RNG = np.random.default_rng(0)
ARCHS = RNG.permutation(np.unique(SPACE.sample(RNG, 120), axis=0))


def test_models_go_on_from_their_state() -> None:
    F = SPACE.objectives(ARCHS)
    told = Told(ARCHS, F, F[:, 1:] - 2.0)
    models, resumed = Models(SPACE, Seen(SPACE)), Models(SPACE, Seen(SPACE))
    models.refit(told.rows(slice(0, 40)))
    models.refit(told.rows(slice(0, 41)))
    resumed.load_state_dict(models.state_dict())
    x = models.features(ARCHS[60:])
    first, second = (each.given(told.rows(slice(0, 50))) for each in (models, resumed))
    assert np.array_equal(first.means(x), second.means(x))
    assert (first.violation(x) >= 0).all()
    assert np.corrcoef(first.violation(x), np.maximum(F[60:, 1] - 2.0, 0))[0, 1] > 0.6


def test_what_may_no_longer_be_proposed_is_nothing_to_improve_on() -> None:
    seen, F = Seen(SPACE), SPACE.objectives(ARCHS[:40])
    models, told = Models(SPACE, seen), Told(ARCHS[:40], F, F[:, :0])
    models.refit(told)
    assert len(models.given(told).known) == 40
    seen.restrict(ARCHS[30:])
    fitted = models.given(told)
    assert np.array_equal(fitted.known, fitted.scaled[30:])
    seen.restrict(ARCHS[50:])
    fitted = models.given(told)
    assert np.array_equal(fitted.known, fitted.scaled.max(axis=0, keepdims=True))
