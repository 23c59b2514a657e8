import numpy as np
import pytest

from nas.pareto import hypervolume
from nas.search.benchmark import Problem, compare, curve, points_of, rows_of, steps_of
from nas.testing.search_suite import BlockSpace
from search_spaces.errors import InputError
from search_spaces.space import Archs

SPACE = BlockSpace(blocks=4, widths=3)


def error(archs: Archs) -> tuple[np.ndarray, np.ndarray]:
    """One objective to be maximised, written negative; the slow ones are infeasible."""
    F = SPACE.objectives(SPACE.canonical(archs))
    return F[:, :1] - 1, F[:, 1:] - 1.5


def both(archs: Archs) -> tuple[np.ndarray, np.ndarray]:
    F = SPACE.objectives(SPACE.canonical(archs))
    return F, F[:, :0]


GAIN = Problem(SPACE, error, (-1.0,), "gain")
FRONT = Problem(SPACE, both, (1.0, 1.0), "hypervolume")


def test_steps_are_points() -> None:
    for queries in (1, 3, 8, 100, 333):
        points, steps = points_of(queries), steps_of(queries)
        assert set(steps) <= set(points)
        assert points[-1] == steps[-1] == queries
        assert points[0] == 1
        assert len(points) <= 43


def test_quality_is_the_best_feasible_or_the_volume() -> None:
    F, G = GAIN.evaluate(SPACE.sample(np.random.default_rng(1), 60))
    feasible = G[:, 0] <= 0
    assert 0 < feasible.sum() < 60
    assert GAIN.quality(F, G) == -F[feasible].min()
    assert GAIN.told(np.array([0.25])).tolist() == [0.25]
    fewest = Problem(SPACE, error, (1.0,), "loss")
    assert fewest.told(np.array([-0.25])).tolist() == [0.25]
    assert GAIN.quality(F[~feasible], G[~feasible]) == -GAIN.reference[0]
    F, G = FRONT.evaluate(SPACE.sample(np.random.default_rng(1), 60))
    assert FRONT.quality(F, G) == hypervolume(F, FRONT.reference)


def test_the_average_is_that_of_single_random_architectures() -> None:
    assert GAIN.average == pytest.approx(-GAIN.random.mean())
    one_by_one = [FRONT.quality(F[None], np.zeros((1, 0))) for F in FRONT.random]
    assert FRONT.average == pytest.approx(np.mean(one_by_one))


def test_rows_say_who_is_better() -> None:
    told = []
    names = ["local_search", "random"]
    curves = compare(GAIN, names, 10, 60, 5, {}, lambda *done: told.append(done))
    assert told[-1] == ("random", 10)
    assert all((np.diff(each, axis=1) >= 0).all() for each in curves.values())
    rows = rows_of(GAIN, curves, 60)
    assert [row["n"] for row in rows] == [8, 8, 15, 15, 30, 30, 60, 60]
    ours, random = rows[-2:]
    assert "p" not in ours
    assert random["p"] < 0.05
    assert ours["low"] <= ours["mean"] <= ours["high"]
    assert ours["improvement"] == pytest.approx(100 * (ours["mean"] / GAIN.average - 1))
    assert ours["improvement"] > random["improvement"] > 0


def test_several_objectives_are_compared_by_their_hypervolume() -> None:
    curves = compare(FRONT, ["random"], 2, 20, 5, {}, lambda *_: None)
    assert (np.diff(curves["random"], axis=1) >= 0).all()
    row = rows_of(FRONT, curves, 20)[-1]
    assert row["mean"] == pytest.approx(curves["random"][:, -1].mean())
    assert row["improvement"] == pytest.approx(100 * (row["mean"] / FRONT.average - 1))


def test_what_can_not_be_evaluated_costs_nothing() -> None:
    """Curves of the half that can are as long, and end where all of it is known."""
    calls = []

    def half(archs: Archs) -> tuple[np.ndarray, np.ndarray]:
        F, G = both(archs)
        known = archs[:, 1] > 0
        calls.append(int(known.sum()))
        return np.where(known[:, None], F, np.nan), G

    problem = Problem(SPACE, half, (1.0, 1.0), "hypervolume")
    assert np.isfinite(problem.random).all()
    calls.clear()
    assert np.isfinite(curve(problem, "random", 0, 30, 7)).all()
    assert sum(calls) == 30

    def none(archs: Archs) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(archs), 2), np.nan), np.zeros((len(archs), 0))

    with pytest.raises(InputError, match="none of 2000 random architectures"):
        _ = Problem(SPACE, none, (1.0, 1.0), "hypervolume").reference
