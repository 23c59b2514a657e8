import numpy as np

from nas.search.local_search import LocalSearch
from nas.search.regularised_evolution import RegularisedEvolution
from nas.testing.search_suite import BlockSpace, SearchSuite
from search_spaces.space import SearchSpace

SPACE = BlockSpace()


class TestLocalSearch(SearchSuite):
    def make(self, space: SearchSpace, seed: int) -> LocalSearch:
        return LocalSearch(space, seed)


class TestRegularisedEvolution(SearchSuite):
    def make(self, space: SearchSpace, seed: int) -> RegularisedEvolution:
        return RegularisedEvolution(space, seed)


def test_local_search_asks_for_neighbours_of_the_best_until_all_are_known() -> None:
    algorithm = LocalSearch(SPACE, 0)
    start = SPACE.canonical(SPACE.largest()[None])
    algorithm.tell(start, np.zeros((1, 1)), np.zeros((1, 0)))
    near = SPACE.neighbours(start[0])
    asked = algorithm.ask(len(near))
    assert set(map(tuple, asked.tolist())) == set(map(tuple, near.tolist()))
    algorithm.tell(asked[1:], np.ones((len(asked) - 1, 1)), np.zeros((len(asked) - 1, 0)))
    assert np.array_equal(algorithm.ask(1), asked[:1])
    algorithm.tell(asked[:1], np.ones((1, 1)), np.zeros((1, 0)))
    restart = algorithm.ask(1)
    assert (restart != start).sum() > 1
    algorithm.tell(restart, np.full((1, 1), 2.0), np.zeros((1, 0)))
    near = set(map(tuple, SPACE.neighbours(restart[0]).tolist()))
    assert tuple(algorithm.ask(1)[0].tolist()) in near


def test_evolution_forgets_the_oldest() -> None:
    """The best of all is no parent once it is old."""
    algorithm = RegularisedEvolution(SPACE, 0, population=20, sample=20)
    rng = np.random.default_rng(0)
    archs = np.unique(SPACE.sample(rng, 60), axis=0)[:40]
    F = np.linspace(1.0, 2.0, 40)[:, None]
    algorithm.tell(archs, F, F[:, :0])
    near = set(map(tuple, SPACE.neighbours(archs[20]).tolist()))
    assert {tuple(arch) for arch in algorithm.ask(5).tolist()} <= near
