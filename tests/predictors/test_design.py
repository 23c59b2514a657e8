import numpy as np
import pytest

from nas.testing.predictor_suite import SPACE
from predictors.design import farthest_first, spread_labels
from predictors.scaling import scaling_of
from search_spaces.errors import InputError


def farthest(archs, rows):
    """Mean distance of the candidates from the nearest chosen one."""
    x = scaling_of(SPACE)(archs)
    return np.linalg.norm(x[:, None] - x[None, rows], axis=2).min(1).mean()


def test_chosen_labels_cover_more_than_random_ones():
    archs = np.unique(SPACE.sample(np.random.default_rng(0), 600), axis=0)
    for seed in range(5):
        chosen = spread_labels(SPACE, archs, 30, seed)
        random = np.random.default_rng(seed).permutation(len(archs))[:30]
        assert len(set(chosen)) == 30
        assert farthest(archs, chosen) < farthest(archs, random)


def test_the_choice_follows_the_seed():
    archs = SPACE.sample(np.random.default_rng(1), 100)
    first, again, other = (spread_labels(SPACE, archs, 20, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_equal_candidates_are_chosen_once_each():
    archs = np.repeat(SPACE.sample(np.random.default_rng(2), 1), 5, axis=0)
    assert sorted(spread_labels(SPACE, archs, 5, 0)) == [0, 1, 2, 3, 4]


def test_more_labels_than_candidates_are_refused():
    archs = SPACE.sample(np.random.default_rng(3), 5)
    with pytest.raises(InputError, match="6 asked for, there are 5"):
        spread_labels(SPACE, archs, 6, 0)


def test_each_is_the_farthest_from_those_before_it():
    archs = np.unique(SPACE.sample(np.random.default_rng(4), 80), axis=0)
    x = scaling_of(SPACE)(archs)
    rows = farthest_first(SPACE, archs, 6, 0)
    for i in range(1, 6):
        nearest = np.linalg.norm(x[:, None] - x[None, rows[:i]], axis=2).min(1)
        np.testing.assert_allclose(nearest[rows[i]], nearest.max())
    assert len(farthest_first(SPACE, archs[:3], 5, 0)) == 3
