import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.pareto import (
    by_front,
    crowding_distance,
    hypervolume,
    mean_hypervolume,
    nondominated,
    nondominated_sort,
)


def matrices(m: int, rows: int = 30) -> st.SearchStrategy[np.ndarray]:
    """Small integers, so that ties and duplicates abound."""
    values = st.integers(0, 6).map(float)
    return st.integers(0, rows).flatmap(lambda n: arrays(np.float64, (n, m), elements=values))


ANY = st.integers(1, 4).flatmap(matrices)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.all(a <= b) and np.any(a < b))


@given(ANY)
def test_front_by_definition(F: np.ndarray) -> None:
    expected = [not any(dominates(other, point) for other in F) for point in F]
    assert nondominated(F).tolist() == expected


def test_front_of_more_points_than_a_chunk() -> None:
    F = np.random.default_rng(0).integers(0, 40, (1500, 3)).astype(float)
    weakly = (F[:, None] <= F[None]).all(-1)
    expected = ~(weakly & ~weakly.T).any(axis=0)
    assert np.array_equal(nondominated(F), expected)


@given(matrices(2))
def test_order_by_front_is_stable(F: np.ndarray) -> None:
    ranks = F[:, 1].astype(int)
    assert np.array_equal(by_front(ranks, F[:, 0]), np.lexsort((F[:, 0], ranks)))


@given(matrices(2), st.integers(0, 1000))
def test_front_of_the_feasible(F: np.ndarray, seed: int) -> None:
    G = np.random.default_rng(seed).normal(size=(len(F), 2))
    feasible = (G <= 0).all(axis=1)
    mask = nondominated(F, G)
    assert not mask[~feasible].any()
    assert np.array_equal(mask[feasible], nondominated(F[feasible]))


@given(ANY)
def test_ranks_peel_fronts_off(F: np.ndarray) -> None:
    ranks = nondominated_sort(F)
    left = np.arange(len(F))
    for rank in range(ranks.max(initial=-1) + 1):
        front = nondominated(F[left])
        assert sorted(left[front]) == np.flatnonzero(ranks == rank).tolist()
        left = left[~front]
    assert len(left) == 0


def test_ranks_of_infeasible_points() -> None:
    F = np.array([[0.0, 0.0], [5.0, 5.0], [6.0, 6.0], [1.0, 1.0], [2.0, 2.0]])
    G = np.array([[3.0, -9.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    assert nondominated_sort(F, G).tolist() == [3, 0, 1, 2, 2]
    assert nondominated_sort(F, np.abs(G) + 1).min() == 0


def test_crowding_by_hand() -> None:
    F = np.array([[0.0, 10.0], [1.0, 6.0], [4.0, 5.0], [10.0, 0.0]])
    got = crowding_distance(F)
    assert got.tolist() == pytest.approx([np.inf, 0.4 + 0.5, 0.9 + 0.6, np.inf])


@given(matrices(3), st.integers(0, 1000))
def test_crowding_of_fronts_together_equals_each_alone(F: np.ndarray, seed: int) -> None:
    ranks = np.random.default_rng(seed).integers(0, 4, len(F))
    together = crowding_distance(F, ranks)
    for rank in range(4):
        assert np.array_equal(together[ranks == rank], crowding_distance(F[ranks == rank]))
    assert not np.isnan(together).any()


def test_hypervolume_by_hand() -> None:
    assert hypervolume(np.array([[1.0], [2.0]]), np.array([4.0])) == 3.0
    assert hypervolume(np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]), np.array([3.0, 3.0])) == 6.0
    cube = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert hypervolume(cube, np.full(3, 2.0)) == 7.0


@given(st.integers(1, 3).flatmap(lambda m: matrices(m, 12)))
def test_hypervolume_counts_dominated_cells(F: np.ndarray) -> None:
    """Integer points dominate whole unit cells of the box."""
    m = F.shape[1]
    cells = np.indices((5,) * m).reshape(m, -1).T
    covered = (F[:, None, :] <= cells[None, :, :]).all(axis=2).any(axis=0).sum()
    assert hypervolume(F, np.full(m, 5.0)) == covered


@given(matrices(3), st.randoms())
def test_hypervolume_ignores_order_and_dominated_points(F: np.ndarray, random) -> None:
    reference = np.array([7.0, 7.5, 6.5])
    order = random.sample(range(len(F)), len(F))
    volume = hypervolume(F, reference)
    assert hypervolume(F[order], reference) == pytest.approx(volume)
    assert hypervolume(F[nondominated(F)], reference) == pytest.approx(volume)
    assert hypervolume(F[:, [2, 0, 1]], reference[[2, 0, 1]]) == pytest.approx(volume)


@pytest.mark.parametrize("m", [4, 5])
def test_hypervolume_in_more_than_three_objectives(m: int) -> None:
    """What all points share in the last objectives is a factor, wherever they stand."""
    F = np.random.default_rng(m).random((60, 3))
    reference = np.array([0.9, 1.0, 0.8])
    wanted = hypervolume(F, reference) * 0.5 ** (m - 3)
    wide = np.concatenate([np.full((60, m - 3), 0.25), F], axis=1)
    corner = np.concatenate([np.full(m - 3, 0.75), reference])
    assert hypervolume(wide, corner) == pytest.approx(wanted)
    assert hypervolume(wide + 1, corner) == 0.0


def test_failed_evaluations_are_refused() -> None:
    F = np.array([[1.0, 2.0], [np.nan, 1.0]])
    for function in (nondominated, nondominated_sort):
        with pytest.raises(ValueError, match="F has NaN in row 1"):
            function(F)
        with pytest.raises(ValueError, match="G has NaN in row 1"):
            function(np.zeros((2, 2)), F)


def test_20000_points_are_quick() -> None:
    """All on the front, and in as many fronts: neither may take quadratic time."""
    x = np.random.default_rng(0).permutation(20_000).astype(float)
    F = np.stack([x, -x], axis=1)
    start = time.perf_counter()
    assert nondominated(F).all()
    assert hypervolume(F, np.array([20_000.0, 1.0])) > 0
    assert time.perf_counter() - start < 1.0


def test_a_population_of_512_is_sorted_in_milliseconds() -> None:
    F = np.random.default_rng(0).normal(size=(1024, 3))
    start = time.perf_counter()
    nondominated_sort(F)
    assert time.perf_counter() - start < 0.5


def test_mean_hypervolume_is_that_of_the_views() -> None:
    F = np.random.default_rng(0).random((50, 4))
    views, reference = [[0, 1], [0, 2, 3]], np.ones(4)
    wanted = [hypervolume(F[:, view], reference[view]) for view in views]
    assert mean_hypervolume(F, reference, views) == pytest.approx(np.mean(wanted))


@pytest.mark.parametrize("m", [2, 3])
def test_hypervolume_is_that_of_moocore(m: int) -> None:
    moocore = pytest.importorskip("moocore")
    F = np.random.default_rng(m).random((200, m))
    reference = np.full(m, 0.9)
    np.testing.assert_allclose(hypervolume(F, reference), moocore.hypervolume(F, ref=reference))


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("enough", [1, 40, 500])
def test_sort_stops_when_there_are_enough(m: int, enough: int) -> None:
    """The fronts that complete the number are right, and all that is behind them is behind."""
    F = np.random.default_rng(m).integers(0, 30, (300, m)).astype(float)
    every, some = nondominated_sort(F), nondominated_sort(F, enough=enough)
    last = np.sort(every)[min(enough, 300) - 1]
    np.testing.assert_array_equal(np.minimum(every, last + 1), np.minimum(some, last + 1))
    assert (some[every > last] > last).all()
