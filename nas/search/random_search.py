"""Random search: the baseline that every algorithm has to beat."""

import numpy as np
from jaxtyping import Float

from nas.search.base import State, check_state, check_told
from nas.search.proposals import Proposals
from nas.search.seen import Seen
from search_spaces.space import Archs, SearchSpace


class RandomSearch:
    """Draws each knob uniformly, without repeating an architecture.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._tells = 0
        self._seen = Seen(space)

    def restrict(self, archs: Archs) -> None:
        """See `Restrictable`."""
        self._seen.restrict(self._space.canonical(archs))

    def ask(self, n: int) -> Archs:
        """See `SearchAlgorithm`."""
        proposals = Proposals(self._space, self._seen, n)
        proposals.fill_at_random(np.random.default_rng([self._seed, self._tells]))
        return proposals.archs

    def tell(self, archs: Archs, F: Float[np.ndarray, "n m"], G: Float[np.ndarray, "n c"]) -> None:
        """See `SearchAlgorithm`; only the architectures matter."""
        check_told(self._space, archs, F, G)
        self._seen.add(self._seen.codes(self._space.canonical(archs)))
        self._tells += 1

    def state_dict(self) -> State:
        """See `SearchAlgorithm`."""
        return self._identity() | {
            "seed": self._seed,
            "tells": self._tells,
            "seen": self._seen.dump(),
        }

    def load_state_dict(self, state: State) -> None:
        """See `SearchAlgorithm`."""
        check_state(state, self._identity())
        self._seed, self._tells = state["seed"], state["tells"]
        self._seen.load(state["seen"])

    def _identity(self) -> State:
        return {
            "algorithm": "random",
            "version": 1,
            "cardinality": self._space.cardinality.tolist(),
        }
