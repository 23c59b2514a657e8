import numpy as np
import pytest

from nas.config import Experiment
from nas.explore import by_fronts, matrices, shared_out
from nas.pareto import nondominated
from nas.trials import Batch


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


def test_what_is_next_to_a_short_front_follows() -> None:
    F = np.random.default_rng(2).random((60, 2))
    first = front_rows(F)
    found = by_fronts(F, [[0, 1]], len(first) + 4).tolist()
    assert len(set(found)) == len(first) + 4
    assert set(found[:-4]) == first
    rest = np.setdiff1d(np.arange(len(F)), list(first))
    assert set(found[-4:]) <= {int(rest[i]) for i in front_rows(F[rest])}
    assert by_fronts(F, [[0, 1]], 3).tolist() == shared_out(F, [[0, 1]], 3).tolist()
    assert sorted(by_fronts(F, [[0, 1]], 100)) == list(range(60))
    assert sorted(by_fronts(np.zeros((3, 2)), [[0, 1]], 9)) == [0, 1, 2]


def test_a_row_that_ties_in_its_view_is_on_the_joint_front() -> None:
    F = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    assert shared_out(F, [[0, 1], [0, 2]], 3).tolist() == [1]


def test_the_search_keeps_to_probabilities() -> None:
    likely = {"metric": "accuracy", "min": 0.8, "probability": 0.95}
    experiment = Experiment.model_validate(
        {
            "name": "likely",
            "space": {"type": "mobilenet_v3"},
            "data": {"type": "digits"},
            "supernet": {"epochs": 1},
            "devices": ["cpu"],
            "objectives": [{"metric": "macs"}],
            "constraints": [likely],
        }
    )
    accuracy, macs = np.array([0.85, 0.85]), np.array([1.0, 2.0])
    half = np.array([0.04, 0.06])
    batch = Batch(
        "search",
        np.zeros((2, 3), np.int64),
        {"accuracy": accuracy, "macs": macs},
        {"accuracy": "predicted", "macs": "counted"},
        {"accuracy": (accuracy - half, accuracy + half)},
    )
    F, G = matrices(experiment, batch)
    assert F.tolist() == [[1.0], [2.0]]
    assert G[:, 0].tolist() == pytest.approx([-0.01 / 0.8, 0.01 / 0.8])
