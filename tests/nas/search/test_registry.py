import numpy as np
import pytest

from nas.search import registry
from nas.search.base import SearchAlgorithm
from nas.testing.search_suite import BlockSpace
from search_spaces.errors import InputError


@pytest.mark.parametrize("name", registry.names())
def test_every_name_makes_an_algorithm(name: str) -> None:
    assert isinstance(registry.create(name, BlockSpace(), 0), SearchAlgorithm)


def test_parameters_arrive() -> None:
    space = BlockSpace()
    small, large = (registry.create("nsga2", space, 0, population=n) for n in (8, 64))
    for algorithm in (small, large):
        archs = space.sample(np.random.default_rng(0), 80)
        F = space.objectives(archs)
        algorithm.tell(archs, F, F[:, :0])
    assert len(small.state_dict()["population"]["archs"]) == 8
    assert len(large.state_dict()["population"]["archs"]) == 64


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("nsga", {}, "type: unknown search algorithm 'nsga'; did you mean 'nsga3'?"),
        ("zzz", {}, "type: unknown search algorithm 'zzz'; there are: auto, bananas, linas,"),
        ("nsga2", {"popluation": 8}, "did you mean 'population'?"),
        (
            "random",
            {"population": 8},
            "population: unknown key 'population' of search algorithm 'random'; there is none",
        ),
        ("nsga2", {"population": 3}, "population: must be at least 4, got 3"),
    ],
)
def test_wrong_input(name: str, parameters: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as error:
        registry.create(name, BlockSpace(), 0, **parameters)
    assert message in error.value.problems[0]


def test_all_unknown_keys_at_once() -> None:
    with pytest.raises(InputError) as error:
        registry.create("nsga2", BlockSpace(), 0, seeds=1, rate=2)
    assert len(error.value.problems) == 2
