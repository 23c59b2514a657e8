"""Successive halving over fidelities: many cheap evaluations, few full ones.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020, algorithm 2:
an architecture goes up a rung as soon as it is among the best share of its own, so no rung has a
size that must be known before, and a batch of any size keeps all workers busy.
"""

import numpy as np
from jaxtyping import Float, Int

from nas.search.base import State, check_state
from nas.search.history import HistorySearch
from nas.search.proposals import Proposals
from nas.search.told import Told
from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace

_NAME = "successive_halving"


class SuccessiveHalving:
    """Random architectures at the lowest fidelity; of each rung the best `1 / eta` go on.

    Several objectives are ranked by fronts and crowding, constraints by feasibility first.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        eta: one in so many goes on to the next rung, which costs so many times as much.
        rungs: fidelities in all.

    Raises:
        InputError: fewer than two rungs, or nothing that is left out.
    """

    def __init__(self, space: SearchSpace, seed: int, *, eta: int = 3, rungs: int = 3) -> None:
        if eta < 2 or rungs < 2:
            name, value = ("eta", eta) if eta < 2 else ("rungs", rungs)
            raise InputError(f"{name}: must be at least 2, got {value}")
        self.eta = eta
        self.fidelities = tuple(float(eta) ** -i for i in range(rungs - 1, -1, -1))
        self._rungs = [_Rung(space, seed) for _ in range(rungs)]

    def ask(self, n: int) -> tuple[Archs, Int[np.ndarray, " n"]]:
        """See `FidelitySearch`: those that go up, from the highest rung on, then new ones."""
        archs, rungs = [], []
        for rung in range(len(self._rungs) - 1, -1, -1):
            missing = n - sum(map(len, archs))
            archs.append(self._rising(rung)[:missing] if rung else self._rungs[0].ask(missing))
            rungs.append(np.full(len(archs[-1]), rung))
        return np.concatenate(archs), np.concatenate(rungs)

    def tell(
        self,
        archs: Archs,
        rungs: Int[np.ndarray, " n"],
        F: Float[np.ndarray, "n m"],
        G: Float[np.ndarray, "n c"],
    ) -> None:
        """See `FidelitySearch`."""
        if len(rungs) != len(archs) or not np.isin(rungs, range(len(self._rungs))).all():
            raise ValueError(f"rungs must be {len(archs)} numbers below {len(self._rungs)}")
        for number, rung in enumerate(self._rungs):
            there = rungs == number
            rung.tell(archs[there], F[there], G[there])

    def state_dict(self) -> State:
        """All that later proposals depend on, as plain JSON values."""
        return self._identity() | {"rungs": [rung.state_dict() for rung in self._rungs]}

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state.

        Raises:
            InputError: it belongs to another algorithm, space or version.
        """
        check_state(state, self._identity())
        for rung, saved in zip(self._rungs, state["rungs"], strict=True):
            rung.load_state_dict(saved)

    def _rising(self, rung: int) -> Archs:
        """The best of the rung below that were not evaluated at this one."""
        below, here = self._rungs[rung - 1], self._rungs[rung].seen
        best = below.best(len(below.seen) // self.eta)
        return best[~here.contains(here.codes(best))]

    def _identity(self) -> State:
        return {"algorithm": _NAME, "eta": self.eta, "fidelities": list(self.fidelities)}


class _Rung(HistorySearch):
    """What was told at one fidelity; proposes at random."""

    algorithm = _NAME

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """Nothing: what is missing is drawn at random."""

    def best(self, n: int) -> Archs:
        """At most `n` architectures, best first; never one whose evaluation failed."""
        if self.told is None or not len(self.told):
            return np.zeros((0, len(self.space.cardinality)), np.int64)
        return self.told.archs[self.told.order()[:n]]
