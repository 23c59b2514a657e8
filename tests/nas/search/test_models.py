import numpy as np
import pytest

from nas.pareto import hypervolume, nondominated
from nas.search.acquisition import area_gains
from nas.search.models import Models
from nas.search.told import Told
from nas.testing.search_suite import BlockSpace

SPACE = BlockSpace()
RNG = np.random.default_rng(0)
ARCHS = RNG.permutation(np.unique(SPACE.sample(RNG, 120), axis=0))


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
