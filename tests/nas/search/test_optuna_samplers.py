import json
from importlib.util import find_spec

import numpy as np
import pytest

from nas.pareto import hypervolume
from nas.search import registry
from nas.search.optuna_samplers import OptunaSearch
from nas.testing.search_suite import BlockSpace, SearchSuite, run
from search_spaces.errors import InputError
from search_spaces.space import SearchSpace

SPACE, SMALL = BlockSpace(), BlockSpace(blocks=4)


@pytest.mark.exhaustive
class TestTPE(SearchSuite):
    costly = True
    # Made for few at a time.
    compared = (4, 3, 20, 5)

    def make(self, space: SearchSpace, seed: int) -> OptunaSearch:
        return OptunaSearch(space, seed, sampler="tpe")


@pytest.mark.exhaustive
class TestNSGA3(SearchSuite):
    costly = True
    # Slower than ours, and of generations of 50.
    compared = (6, 6, 12, 64)

    def make(self, space: SearchSpace, seed: int) -> OptunaSearch:
        return OptunaSearch(space, seed, sampler="nsga3")


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch")
class TestGP(SearchSuite):
    costly = True

    def make(self, space: SearchSpace, seed: int) -> OptunaSearch:
        return OptunaSearch(space, seed, sampler="gp")


@pytest.mark.parametrize("sampler", ["tpe", "nsga3"])
def test_resumes_repeats_nothing_and_asks_canonically(sampler: str) -> None:
    algorithm = OptunaSearch(SMALL, 0, sampler=sampler)
    parts = [run(algorithm, SMALL, n) for n in (15, 10)]
    resumed = OptunaSearch(SMALL, 1, sampler=sampler)
    resumed.load_state_dict(json.loads(json.dumps(algorithm.state_dict())))
    assert np.array_equal(resumed.ask(6), algorithm.ask(6))
    parts.append(run(algorithm, SMALL, 6))
    archs = np.concatenate(parts)
    assert len(np.unique(archs, axis=0)) == len(archs) == 31
    assert np.array_equal(SMALL.canonical(archs), archs)


def test_tpe_is_above_random_search() -> None:
    algorithm = OptunaSearch(SMALL, 0)
    archs = np.concatenate([run(algorithm, SMALL, n) for n in (20, *[5] * 7)])
    samples = [SMALL.sample(np.random.default_rng(seed), len(archs)) for seed in range(8)]
    ours, *random = (hypervolume(SMALL.objectives(a), SMALL.reference) for a in (archs, *samples))
    assert sum(ours > volume for volume in random) >= 6


def test_constraints_reach_the_sampler() -> None:
    """The same objectives, other constraints: other proposals."""
    archs = SMALL.sample(np.random.default_rng(0), 40)
    F = SMALL.objectives(archs)
    asked = []
    for bound in (0.5, 3.0):
        algorithm = OptunaSearch(SMALL, 0)
        algorithm.tell(archs, F, F[:, 1:] - bound)
        asked.append(algorithm.ask(4))
    assert not np.array_equal(*asked)


def test_a_foreign_sampler_is_refused() -> None:
    state = OptunaSearch(SPACE, 0, sampler="nsga3").state_dict()
    with pytest.raises(InputError, match="sampler 'nsga3', this one 'tpe'"):
        OptunaSearch(SPACE, 0).load_state_dict(state)


def test_unknown_samplers() -> None:
    with pytest.raises(InputError, match="sampler: unknown sampler 'tep'; did you mean 'tpe'"):
        registry.create("optuna", SPACE, 0, sampler="tep")


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is here")
def test_gp_without_pytorch_is_one_line() -> None:
    with pytest.raises(InputError, match="sampler: Optuna's gp needs PyTorch: pip install torch"):
        registry.create("optuna", SPACE, 0, sampler="gp")
