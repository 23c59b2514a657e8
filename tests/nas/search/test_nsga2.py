import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.pareto import nondominated
from nas.search.nsga2 import NSGA2
from nas.testing.search_suite import BOUNDS, BlockSpace, SearchSuite, run, tell
from search_spaces import registry as spaces
from search_spaces.space import SearchSpace

SPACE = BlockSpace()


class TestNSGA2(SearchSuite):
    def make(self, space: SearchSpace, seed: int) -> NSGA2:
        return NSGA2(space, seed)


def survivors(algorithm: NSGA2) -> np.ndarray:
    return np.array(algorithm.state_dict()["population"]["archs"])


def test_starts_with_the_largest_and_the_smallest() -> None:
    archs = NSGA2(SPACE, 0).ask(96)
    assert np.array_equal(archs[:2], [SPACE.largest(), SPACE.smallest()])
    assert len(np.unique(archs[:, 0])) == 8


def test_completes_the_first_population_at_random() -> None:
    """Half of it told: the other half is drawn as before, not bred from the first."""
    algorithm = NSGA2(SPACE, 0, population=96)
    first = np.zeros((48, 17), np.int64)
    first[:, 9:] = np.random.default_rng(0).integers(0, 5, (48, 8))
    first[:, 1] = 1
    tell(algorithm, SPACE, first)
    n_told = len(survivors(algorithm))
    archs = algorithm.ask(96)
    sampled = archs[: 96 - n_told]
    assert (sampled[:, 0] > 0).mean() > 0.7


def test_keeps_the_front() -> None:
    """A nondominated architecture is lost only to a front larger than the population."""
    algorithm = NSGA2(SPACE, 0, population=400)
    archs = np.concatenate([run(algorithm, SPACE, 100) for _ in range(6)])
    front = archs[nondominated(SPACE.objectives(archs))]
    assert len(front) < 400
    kept = set(map(tuple, survivors(algorithm).tolist()))
    assert set(map(tuple, front.tolist())) <= kept


def test_keeps_the_ends_of_a_front_that_is_too_large() -> None:
    archs = SPACE.sample(np.random.default_rng(0), 2000)
    F = SPACE.objectives(archs)
    archs, F = archs[nondominated(F)], F[nondominated(F)]
    algorithm = NSGA2(SPACE, 0, population=8)
    algorithm.tell(archs, F, F[:, :0])
    kept = SPACE.objectives(survivors(algorithm))
    assert len(kept) == 8 < len(np.unique(F, axis=0))
    assert np.array_equal(kept.min(axis=0), F.min(axis=0))


def test_feasible_survive_first() -> None:
    """Whatever their objectives; then the least violating."""
    algorithm = NSGA2(SPACE, 0, population=10)
    archs = np.unique(SPACE.sample(np.random.default_rng(0), 60), axis=0)
    F = SPACE.objectives(archs)
    G = np.linspace(-1, 9, len(archs))[:, None] * np.array([[1.0, 2.0]])
    algorithm.tell(archs, F, G)
    kept = set(map(tuple, survivors(algorithm).tolist()))
    assert kept == set(map(tuple, archs[:10].tolist()))


def test_latest_evaluation_counts() -> None:
    algorithm = NSGA2(SPACE, 0)
    archs = algorithm.ask(5)
    none = np.zeros((5, 0))
    algorithm.tell(archs, np.arange(10.0).reshape(5, 2), none)
    algorithm.tell(archs[::-1], np.arange(10.0, 20).reshape(5, 2), none)
    state = algorithm.state_dict()["population"]
    got = dict(zip(map(tuple, state["archs"]), state["F"], strict=True))
    assert len(got) == 5
    assert got[tuple(archs[4])] == [10.0, 11.0]


@pytest.mark.parametrize("m", [1, 3, 4])
def test_any_number_of_objectives(m: int) -> None:
    algorithm = NSGA2(SPACE, 0, population=32)
    weights = np.random.default_rng(0).normal(size=(17, m))
    means = []
    for _ in range(15):
        archs = algorithm.ask(32)
        F = archs @ weights
        means.append(F.mean())
        algorithm.tell(archs, F, F[:, :0])
    assert np.mean(means[-3:]) < means[0]


def test_unread_knobs_of_new_blocks_vary() -> None:
    """A child deeper than its parents gets any kind in the new block, not always the first."""
    shallow = np.zeros((40, 17), np.int64)
    shallow[:, 1] = 1
    shallow[:, 9] = np.arange(40) % 5
    shallow[:, 0] = np.arange(40) % 4
    algorithm = NSGA2(SPACE, 0, population=4)
    tell(algorithm, SPACE, shallow)
    archs = algorithm.ask(200)
    last = archs[np.arange(200), 1 + archs[:, 0]][archs[:, 0] > 3]
    assert len(last) > 20
    assert set(last) == {0, 1, 2}


def test_resumes_in_another_process(tmp_path: Path) -> None:
    algorithm = NSGA2(SPACE, 11, population=48)
    for _ in range(4):
        run(algorithm, SPACE, 48, BOUNDS)
    path = tmp_path / "state.json"
    path.write_text(json.dumps(algorithm.state_dict()))
    code = (
        "import json, sys; from nas.search.nsga2 import NSGA2\n"
        "from nas.testing.search_suite import BlockSpace\n"
        "algorithm = NSGA2(BlockSpace(), 0, population=48)\n"
        "algorithm.load_state_dict(json.load(open(sys.argv[1])))\n"
        "print(json.dumps(algorithm.ask(48).tolist()))"
    )
    command = [sys.executable, "-c", code, str(path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == algorithm.ask(48).tolist()


def test_state_keeps_a_population_of_none() -> None:
    """All failed: there is nothing to breed from, before and after a resume."""
    algorithm, resumed = NSGA2(SPACE, 0), NSGA2(SPACE, 1)
    archs = algorithm.ask(20)
    algorithm.tell(archs, np.full((20, 3), np.nan), np.zeros((20, 2)))
    resumed.load_state_dict(json.loads(json.dumps(algorithm.state_dict())))
    for each in (algorithm, resumed):
        each.tell(archs, np.ones((20, 3)), np.zeros((20, 2)))
    assert np.array_equal(resumed.ask(96), algorithm.ask(96))


def test_searches_a_real_space() -> None:
    space = spaces.create("mobilenet_v3")
    algorithm = NSGA2(space, 0, population=32)
    for _ in range(4):
        archs = algorithm.ask(32)
        assert len(np.unique(archs, axis=0)) == 32
        assert np.array_equal(space.canonical(archs), archs)
        F = np.stack([archs.sum(axis=1), -archs[:, 0]], axis=1).astype(float)
        algorithm.tell(archs, F, F[:, :0])
