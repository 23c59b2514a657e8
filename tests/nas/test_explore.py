import numpy as np

from nas.explore import shared_out
from nas.pareto import nondominated


def front_rows(F: np.ndarray) -> set[int]:
    return set(map(int, np.flatnonzero(nondominated(F))))


def test_one_view_is_its_front_from_end_to_end() -> None:
    F = np.random.default_rng(0).random((300, 2))
    rows = shared_out(F, [[0, 1]], 100)
    assert set(map(int, rows)) == front_rows(F)
    assert set(map(int, rows[:2])) == {int(F[:, 0].argmin()), int(F[:, 1].argmin())}


def test_every_view_and_all_together_get_a_share() -> None:
    F = np.random.default_rng(1).random((400, 4))
    views = [[0, 1], [0, 2], [0, 3]]
    rows = set(map(int, shared_out(F, views, 16)))
    assert len(rows) == 16
    assert rows <= front_rows(F)
    on_views = [front_rows(F[:, view]) for view in views]
    for front in on_views:
        assert len(rows & front) >= min(3, len(front))
    assert rows - set().union(*on_views)


def test_a_row_that_ties_in_its_view_is_on_the_joint_front() -> None:
    F = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    assert shared_out(F, [[0, 1], [0, 2]], 3).tolist() == [1]
