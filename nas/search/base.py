"""The contract of a search algorithm."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace

State = dict[str, Any]


@runtime_checkable
class SearchAlgorithm(Protocol):
    """Proposes architectures and learns from their evaluation.

    All objectives are minimised and a point is feasible where all its constraints are <= 0. The
    proposals follow from the state alone: a search that is resumed from `state_dict` goes on as if
    it had never stopped.
    """

    def ask(self, n: int) -> Archs:
        """Canonical architectures that are worth evaluating; changes no state.

        Args:
            n: how many.

        Returns:
            Distinct architectures, none of them told before. Fewer than `n` where the space has no
            more, none where all of it was told. (In a space too large to enumerate, a bounded
            number of draws decides what more there is.)
        """
        ...

    def tell(self, archs: Archs, F: Float[np.ndarray, "n m"], G: Float[np.ndarray, "n c"]) -> None:
        """Take the evaluation of any architectures, whether they were asked for or not.

        Args:
            archs: architectures; they need not be canonical.
            F: their objectives. A row of F or G that is not finite is a failed evaluation: the
                architecture is not proposed again, and nothing is learnt from it.
            G: their constraints, `(n, 0)` where there are none.
        """
        ...

    def state_dict(self) -> State:
        """All that later proposals depend on, as plain JSON values."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Go on from a saved state.

        Args:
            state: from `state_dict` of the same algorithm on the same space.

        Raises:
            InputError: it belongs to another algorithm, space or version.
        """
        ...


@runtime_checkable
class Restrictable(Protocol):
    """An algorithm that can be kept to some architectures of its space."""

    def restrict(self, archs: Archs) -> None:
        """Ask for none but these from now on; no state holds them, so that they have to be said
        again where one was loaded.
        """
        ...


@runtime_checkable
class FidelitySearch(Protocol):
    """A search that also says how much is spent on each evaluation.

    `fidelities` are shares of a full evaluation (images, epochs), ascending, the last one 1; the
    numbers of `ask` and `tell` are positions in it. An architecture may be asked for once at each.
    """

    fidelities: tuple[float, ...]

    def ask(self, n: int) -> tuple[Archs, Int[np.ndarray, " n"]]:
        """As `SearchAlgorithm.ask`, and at which fidelity, the highest first."""
        ...

    def tell(
        self,
        archs: Archs,
        rungs: Int[np.ndarray, " n"],
        F: Float[np.ndarray, "n m"],
        G: Float[np.ndarray, "n c"],
    ) -> None:
        """As `SearchAlgorithm.tell`."""
        ...


class AtFullFidelity:
    """A search algorithm that knows nothing of fidelities."""

    fidelities = (1.0,)

    def __init__(self, algorithm: SearchAlgorithm) -> None:
        self.algorithm = algorithm

    def ask(self, n: int) -> tuple[Archs, Int[np.ndarray, " n"]]:
        """See `FidelitySearch`."""
        archs = self.algorithm.ask(n)
        return archs, np.zeros(len(archs), np.int64)

    def tell(
        self,
        archs: Archs,
        rungs: Int[np.ndarray, " n"],  # noqa: ARG002 (there is one)
        F: Float[np.ndarray, "n m"],
        G: Float[np.ndarray, "n c"],
    ) -> None:
        """See `FidelitySearch`."""
        self.algorithm.tell(archs, F, G)


def check_told(
    space: SearchSpace,
    archs: Archs,
    F: Float[np.ndarray, "n m"],
    G: Float[np.ndarray, "n c"],
) -> None:
    """Refuse what no algorithm could learn from.

    Raises:
        ValueError: row counts differ, or an entry lies outside its knob's options.
    """
    if not len(archs) == len(F) == len(G):
        raise ValueError(f"told {len(archs)} architectures with {len(F)} F and {len(G)} G rows")
    if archs.shape[1] != len(space.cardinality):
        raise ValueError(
            f"space {space.name} has {len(space.cardinality)} knobs, got {archs.shape}"
        )
    if archs.min(initial=0) < 0 or (archs.max(axis=0, initial=0) >= space.cardinality).any():
        raise ValueError(f"space {space.name}: entries must lie in [0, cardinality)")


def check_state(state: State, expected: State) -> None:
    """Refuse a saved state that belongs to another search.

    Args:
        state: the saved one.
        expected: entries that it must have.

    Raises:
        InputError: an entry differs.
    """
    problems = [
        f"the saved search has {key} {state.get(key)!r}, this one {value!r}: resume it with the "
        "space and the search that it was started with"
        for key, value in expected.items()
        if state.get(key) != value
    ]
    if problems:
        raise InputError(problems)
