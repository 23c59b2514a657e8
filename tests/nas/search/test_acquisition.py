import numpy as np
import pytest

from nas.pareto import hypervolume
from nas.search.acquisition import expected_gains, volume_gains


@pytest.mark.parametrize(("m", "p"), [(1, 0), (1, 7), (2, 0), (2, 30), (3, 0), (3, 7), (4, 7)])
def test_gains_are_differences_of_volumes(m: int, p: int) -> None:
    """Of samples with a front each; points and fronts may lie beyond the reference."""
    rng = np.random.default_rng(m)
    reference = np.ones(m)
    fronts, F = rng.random((3, p, m)) * 1.1, rng.random((3, 5, m)) * 1.1
    if p:
        # Equal entries and equal points.
        fronts[:, 1], fronts[:, 2, -1] = fronts[:, 0], fronts[:, 0, -1]
        F[0, 0] = fronts[0, 0]
    expected = [
        [
            hypervolume(np.concatenate([front, f[None]]), reference) - hypervolume(front, reference)
            for f in points
        ]
        for front, points in zip(fronts, F, strict=True)
    ]
    np.testing.assert_allclose(volume_gains(F, fronts, reference), expected, atol=1e-12)
    alone = volume_gains(F[1], fronts[1], reference)
    np.testing.assert_allclose(alone, expected[1], atol=1e-12)


def test_a_batch_does_not_gain_the_same_twice() -> None:
    """The second best on its own is a copy of the best, so another one comes second."""
    known = np.array([[0.0, 1.0], [1.0, 0.0]])
    best, other = [0.2, 0.2], [0.9, -0.05]
    draws = np.tile(np.array([best, best, other]), (4, 1, 1))
    feasible = np.ones((4, 3), bool)
    assert expected_gains(draws, feasible, known, 2).tolist() == [0, 2]
    assert sorted(expected_gains(draws, feasible, known, 9)) == [0, 1, 2]


def test_expected_improvement_of_one_objective() -> None:
    """Rare but large gains count by their probability."""
    draws = np.array([[[0.9], [0.0], [1.0]], [[0.9], [1.0], [1.0]], [[0.9], [1.0], [1.0]]])
    known = np.array([[1.0], [2.0]])
    everything = np.ones((3, 3), bool)
    assert expected_gains(draws, everything, known, 1).tolist() == [1]
    rarely = everything.copy()
    rarely[0, 1] = False
    assert expected_gains(draws, rarely, known, 1).tolist() == [0]


def test_large_batches_end_with_what_gains_most_on_its_own() -> None:
    draws = np.random.default_rng(0).random((8, 50, 2))
    chosen = expected_gains(draws, np.ones((8, 50), bool), np.ones((1, 2)), 40)
    assert len(set(chosen)) == 40
