import numpy as np
import pytest

from predictors.metrics import coverage, kendall_tau
from predictors.score_scale import fit_score_scale, read_score_scale


def drawn(n, seed, noise=0.4):
    """Labels with a long lower tail, and scores that order them in a unit of their own."""
    rng = np.random.default_rng(seed)
    score = rng.standard_normal(n)
    y = 90 - 8 * np.exp(-score - noise * rng.standard_normal(n))
    members = 50 + 7 * (score[None, :] + 0.2 * rng.standard_normal((2, n)))
    return y, members


def told(members):
    return members.mean(0), members.var(0, ddof=1)


def test_scores_become_labels_in_the_same_order_with_an_honest_interval():
    scale = fit_score_scale(*drawn(400, 0))
    y, members = drawn(4000, 1)
    found = scale.predict(*told(members))
    assert kendall_tau(members.mean(0), found.mean) > 0.97
    assert np.abs(np.median(y - found.mean)) < 0.2 * np.median(np.abs(y - np.median(y)))
    assert 0.87 <= coverage(y, found.mean, found.std) <= 0.93
    # Labels are spread out where they are low.
    low, high = np.argsort(found.mean)[[200, -200]]
    assert found.std[low] > 3 * found.std[high]


def test_scores_that_tell_nothing_give_the_middle_and_a_wide_interval():
    y, members = drawn(200, 2)
    scale = fit_score_scale(y, np.random.default_rng(3).standard_normal(members.shape))
    found = scale.predict(*told(members / 100))
    assert np.ptp(found.mean) < 0.3 * np.ptp(y)
    assert fit_score_scale(y, -members).slope == 0


def test_members_as_labels():
    y, members = drawn(300, 4)
    labels = fit_score_scale(y, members).to_labels(members)
    assert labels.shape == members.shape
    assert kendall_tau(labels[0], members[0]) == pytest.approx(1)


def test_stored_and_read_is_equal():
    scale = fit_score_scale(*drawn(100, 5))
    again = read_score_scale(scale.arrays())
    members = drawn(50, 6)[1]
    assert np.array_equal(again.predict(*told(members)).std, scale.predict(*told(members)).std)
