from nas.search.auto import Auto
from nas.testing.search_suite import BlockSpace, SearchSuite
from search_spaces.space import SearchSpace

SPACE = BlockSpace()


class TestAuto(SearchSuite):
    costly = True

    def make(self, space: SearchSpace, seed: int) -> Auto:
        return Auto(space, seed)
