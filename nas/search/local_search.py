"""Pareto local search with restarts; with one objective it is hill climbing.

White, Nolen, Savani, "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021; for
several objectives Paquete, Chiarandini, Stützle, "Pareto Local Optimum Sets", 2004.
"""

import numpy as np

from nas.pareto import nondominated
from nas.search.base import State
from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.space import Archs, SearchSpace


class LocalSearch(HistorySearch):
    """Evaluates the neighbours of the best of the current run; moves as soon as one is better.

    Where all neighbours of the best are known, a new run starts from a random architecture.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm = "local_search"

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._run_start = 0
        self._stuck = False

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """Unseen neighbours of the best of the current run, in random order; of the next best
        where more are asked for.
        """
        if self._stuck:
            return
        run = told.rows(slice(self._run_start, None))
        for row in run.order():
            if proposals.full:
                return
            near = self.space.neighbours(run.archs[row])
            proposals.fill(lambda _, __, near=near: rng.permutation(near), rounds=1)

    def learn(self, told: Told) -> None:  # noqa: ARG002 (what was new does not matter)
        """Start a new run where the last one has nowhere left to go."""
        everything = self.told
        if everything is None:
            return
        if self._stuck and len(everything) > self._run_start:
            self._stuck = False
        if not self._stuck and len(everything) > self._run_start:
            around = map(self.space.neighbours, self._best(everything))
            if all(self.seen.contains(self.seen.codes(near)).all() for near in around):
                self._stuck, self._run_start = True, len(everything)

    def own_state(self) -> State:
        """Where the current run starts."""
        return {"run_start": self._run_start, "stuck": self._stuck}

    def load_own_state(self, state: State) -> None:
        """Inverse of `own_state`."""
        self._run_start, self._stuck = state["run_start"], state["stuck"]

    def _best(self, told: Told) -> Archs:
        run = told.rows(slice(self._run_start, None))
        if not len(run):
            return run.archs
        least = run.violation.min()
        run = run.rows(run.violation == least)
        return run.archs[nondominated(run.F)] if least == 0 else run.archs[:1]
