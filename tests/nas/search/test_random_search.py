import numpy as np

from nas.search.random_search import RandomSearch
from nas.testing.search_suite import BlockSpace, SearchSuite, tell
from search_spaces.space import SearchSpace


class TestRandomSearch(SearchSuite):
    learns = False

    def make(self, space: SearchSpace, seed: int) -> RandomSearch:
        return RandomSearch(space, seed)


def test_draws_like_the_space() -> None:
    """The depths of many proposals are spread as the space spreads them, which is evenly."""
    space = BlockSpace()
    algorithm = RandomSearch(space, 0)
    archs = algorithm.ask(4000)
    tell(algorithm, space, archs)
    depths = np.bincount(np.concatenate([archs, algorithm.ask(4000)])[:, 0], minlength=8)
    # The shallowest networks run out: there are only 11 of depth 1 and 121 of depth 2.
    assert depths[0] == 11
    assert depths[1] <= 121
    assert np.all(np.abs(depths[4:] / depths[4:].mean() - 1) < 0.1)
