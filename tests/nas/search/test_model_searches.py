import pytest

from nas.search.bananas import Bananas
from nas.search.linas import Linas
from nas.search.mcts import MCTS
from nas.search.moead import MOEAD
from nas.search.nsga3 import NSGA3
from nas.search.parego import ParEGO
from nas.search.qehvi import QEHVI
from nas.search.smbo import SMBO
from nas.testing.search_suite import SearchSuite
from search_spaces.space import SearchSpace


@pytest.mark.exhaustive
class TestBananas(SearchSuite):
    costly = True

    def make(self, space: SearchSpace, seed: int) -> Bananas:
        return Bananas(space, seed)


@pytest.mark.exhaustive
class TestLinas(SearchSuite):
    costly = True

    def make(self, space: SearchSpace, seed: int) -> Linas:
        return Linas(space, seed)


@pytest.mark.exhaustive
class TestParEGO(SearchSuite):
    costly = True

    def make(self, space: SearchSpace, seed: int) -> ParEGO:
        return ParEGO(space, seed)


@pytest.mark.exhaustive
class TestQEHVI(SearchSuite):
    costly = True

    def make(self, space: SearchSpace, seed: int) -> QEHVI:
        return QEHVI(space, seed)


class TestSMBO(SearchSuite):
    def make(self, space: SearchSpace, seed: int) -> SMBO:
        return SMBO(space, seed)


@pytest.mark.exhaustive
class TestMCTS(SearchSuite):
    # Rewards of prefixes say little of constraints on sums over all knobs.
    meets_constraints = False

    def make(self, space: SearchSpace, seed: int) -> MCTS:
        return MCTS(space, seed)


class TestNSGA3(SearchSuite):
    def make(self, space: SearchSpace, seed: int) -> NSGA3:
        return NSGA3(space, seed)


class TestMOEAD(SearchSuite):
    def make(self, space: SearchSpace, seed: int) -> MOEAD:
        return MOEAD(space, seed)
