import numpy as np

from nas.search.auto import Auto
from nas.testing.search_suite import BlockSpace, SearchSuite, tell
from search_spaces.choices import Choices
from search_spaces.space import SearchSpace

SPACE = BlockSpace()


class TestAuto(SearchSuite):
    costly = True

    def make(self, space: SearchSpace, seed: int) -> Auto:
        return Auto(space, seed)
