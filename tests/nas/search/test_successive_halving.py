import json

import numpy as np
import pytest

from nas.search import registry
from nas.search.base import FidelitySearch
from nas.search.successive_halving import SuccessiveHalving
from nas.testing.search_suite import BlockSpace
from search_spaces.errors import InputError
from search_spaces.space import Archs

SPACE = BlockSpace()


def objectives(archs: Archs, rungs: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """The error alone; the lower the fidelity, the worse it is known."""
    drawn = np.random.default_rng(archs.sum() + 100).standard_normal(len(archs))
    return SPACE.objectives(archs)[:, :1] + noise * 3.0 ** -rungs[:, None] * drawn[:, None]


def spend(algorithm: FidelitySearch, budget: float, noise: float = 0.0) -> tuple[Archs, np.ndarray]:
    """All that was evaluated, and at which rung, until a budget is spent."""
    archs, rungs, cost = [], [], 0.0
    while cost < budget:
        asked, at = algorithm.ask(5)
        F = objectives(asked, at, noise)
        algorithm.tell(asked, at, F, F[:, :0])
        archs.append(asked)
        rungs.append(at)
        cost += sum(algorithm.fidelities[i] for i in at)
    return np.concatenate(archs), np.concatenate(rungs)


def test_the_best_of_each_rung_go_up() -> None:
    algorithm = SuccessiveHalving(SPACE, 0)
    assert algorithm.fidelities == (1 / 9, 1 / 3, 1.0)
    asked, rungs = algorithm.ask(9)
    assert not rungs.any()
    F = objectives(asked, rungs)
    algorithm.tell(asked, rungs, F, F[:, :0])
    again, rungs = algorithm.ask(5)
    assert rungs.tolist() == [1, 1, 1, 0, 0]
    assert np.array_equal(again[:3], asked[np.argsort(F[:, 0])[:3]])
    algorithm.tell(again, rungs, objectives(again, rungs), F[:5, :0])
    last, rungs = algorithm.ask(3)
    assert rungs.tolist() == [2, 1, 0] or rungs.tolist() == [2, 0, 0]
    assert np.array_equal(last[0], asked[np.argmin(F[:, 0])])


def test_rungs_share_the_budget_and_nothing_is_asked_twice() -> None:
    archs, rungs = spend(SuccessiveHalving(SPACE, 1), 30)
    cost = np.bincount(rungs) * np.array([1 / 9, 1 / 3, 1])
    assert cost.sum() == pytest.approx(30, abs=3)
    assert cost.min() > 0.2 * cost.sum()
    pairs = set(map(tuple, np.column_stack([archs, rungs]).tolist()))
    assert len(pairs) == len(archs)
    assert np.array_equal(SPACE.canonical(archs), archs)


def test_finds_more_than_random_search_at_equal_cost() -> None:
    """Also where low fidelities are noisy (paired by seed, p < .02)."""
    gains = np.zeros(10)
    for seed in range(10):
        archs, rungs = spend(SuccessiveHalving(SPACE, seed), 40, noise=0.1)
        best = SPACE.objectives(archs[rungs == 2])[:, 0].min()
        sample = SPACE.sample(np.random.default_rng(seed), 40)
        gains[seed] = SPACE.objectives(sample)[:, 0].min() - best
    assert gains.mean() > 2.5 * gains.std(ddof=1) / np.sqrt(10)


def test_resumes_to_the_same_search() -> None:
    algorithm, other = SuccessiveHalving(SPACE, 3), SuccessiveHalving(SPACE, 4)
    spend(algorithm, 6)
    state = algorithm.state_dict()
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.state_dict() == state
    for _ in range(4):
        asked, rungs = algorithm.ask(7)
        for mine, theirs in zip((asked, rungs), other.ask(7), strict=True):
            assert np.array_equal(mine, theirs)
        for each in (algorithm, other):
            F = objectives(asked, rungs)
            each.tell(asked, rungs, F, F[:, :0])
    assert algorithm.state_dict() == other.state_dict() != state
    with pytest.raises(InputError, match="eta 3, this one 2"):
        SuccessiveHalving(SPACE, 0, eta=2).load_state_dict(state)


def test_failed_and_infeasible_ones_stay_below() -> None:
    algorithm = SuccessiveHalving(SPACE, 0)
    asked, rungs = algorithm.ask(9)
    F, G = objectives(asked, rungs), np.ones((9, 1))
    F[:4] = np.nan
    G[5] = -1
    algorithm.tell(asked, rungs, F, G)
    rising, rungs = algorithm.ask(5)
    assert rungs.tolist() == [1, 1, 1, 0, 0]
    assert np.array_equal(rising[0], asked[5])
    assert not set(map(tuple, rising.tolist())) & set(map(tuple, asked[:4].tolist()))


def test_a_space_is_exhausted() -> None:
    space = BlockSpace(blocks=2, widths=1)
    algorithm = SuccessiveHalving(space, 0, eta=2, rungs=2)
    counts = np.zeros(2, int)
    while True:
        asked, rungs = algorithm.ask(4)
        if not len(asked):
            break
        counts += np.bincount(rungs, minlength=2)
        F = space.objectives(asked)
        algorithm.tell(asked, rungs, F, F[:, :0])
    # Half of them at least; those that went up early need not be of the best half in the end.
    assert counts[0] == 12
    assert 6 <= counts[1] <= 10


@pytest.mark.parametrize(("name", "value"), [("eta", 1), ("rungs", 1)])
def test_wrong_parameters(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{name}: must be at least 2, got 1"):
        registry.create_any("successive_halving", SPACE, 0, **{name: value})


def test_rungs_must_exist() -> None:
    algorithm = SuccessiveHalving(SPACE, 0)
    asked, rungs = algorithm.ask(2)
    with pytest.raises(ValueError, match="numbers below 3"):
        algorithm.tell(asked, rungs + 3, np.zeros((2, 1)), np.zeros((2, 0)))


def test_other_algorithms_ask_for_full_evaluations() -> None:
    algorithm = registry.create_any("random", SPACE, 0)
    assert isinstance(algorithm, FidelitySearch)
    asked, rungs = algorithm.ask(4)
    assert algorithm.fidelities == (1.0,)
    assert rungs.tolist() == [0] * 4
    algorithm.tell(asked, rungs, np.zeros((4, 1)), np.zeros((4, 0)))
    assert not set(map(tuple, asked.tolist())) & set(map(tuple, algorithm.ask(50)[0].tolist()))
