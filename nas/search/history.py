"""The base of algorithms that need nothing but what was told to go on from."""

import numpy as np
from jaxtyping import Float

from nas.search.base import State, check_state, check_told
from nas.search.models import FEWEST, Models
from nas.search.proposals import Proposals
from nas.search.seen import Seen
from nas.search.told import Told
from nas.search.variation import Variation
from search_spaces.space import Archs, SearchSpace


class HistorySearch:
    """Base of algorithms whose proposals follow from all that was told, and the seed.

    A subclass gives `algorithm`, its name, and `propose`; if it has a state of its own, `learn`
    keeps it up to date, and `own_state` and `load_own_state` save it. With `modelled` it has
    `models` of all objectives and constraints, which are fitted again now and then.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
    """

    algorithm: str
    version = 3
    modelled = False
    # Labels from which on the models are fitted, and up to which.
    first_fit = FEWEST
    last_fit = 10**9

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.seed = seed
        self.tells = 0
        self.seen = Seen(space)
        self.told: Told | None = None
        self.models = Models(space, self.seen)
        self.variation = Variation(space)

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """Add what is worth evaluating; what is missing in the end is drawn at random.

        Args:
            rng: of the random choices of this proposal.
            told: all that is known, at least one architecture.
            proposals: to be filled.
        """
        raise NotImplementedError

    def start(self, rng: np.random.Generator, proposals: Proposals) -> None:
        """Add what is evaluated while nothing is known; random architectures by default."""

    def learn(self, told: Told) -> None:
        """Called after each tell with what was new in it."""

    def own_state(self) -> State:
        """What the subclass remembers beyond what was told."""
        return {}

    def load_own_state(self, state: State) -> None:
        """Inverse of `own_state`."""

    def restrict(self, archs: Archs) -> None:
        """See `Restrictable`."""
        self.seen.restrict(self.space.canonical(archs))

    def ask(self, n: int) -> Archs:
        """See `SearchAlgorithm`."""
        rng = np.random.default_rng([self.seed, self.tells])
        proposals = Proposals(self.space, self.seen, n)
        if n and self.told is not None and len(self.told):
            self.propose(rng, self.told, proposals)
        elif n:
            self.start(rng, proposals)
        proposals.fill_at_random(rng)
        return proposals.archs

    def tell(self, archs: Archs, F: Float[np.ndarray, "n m"], G: Float[np.ndarray, "n c"]) -> None:
        """See `SearchAlgorithm`; an architecture that is told again takes the new values."""
        check_told(self.space, archs, F, G)
        archs = self.space.canonical(archs)
        self.seen.add(self.seen.codes(archs))
        self.tells += 1
        known = np.isfinite(F).all(axis=1) & np.isfinite(G).all(axis=1)
        told = Told(archs[known], F[known].astype(float), G[known].astype(float))
        self.told = self._merged(told.rows(slice(0)) if self.told is None else self.told, told)
        n = len(self.told)
        enough = len(self.seen) >= self.first_fit and n >= FEWEST
        if self.modelled and enough and n < self.last_fit:
            self.models.refit(self.told)
        self.learn(told)

    def _merged(self, old: Told, new: Told) -> Told:
        archs = np.concatenate([old.archs, new.archs])
        F, G = np.concatenate([old.F, new.F]), np.concatenate([old.G, new.G])
        codes = self.seen.codes(archs)
        _, first, group = np.unique(codes, return_index=True, return_inverse=True)
        latest = np.zeros(len(first), np.int64)
        np.maximum.at(latest, group, np.arange(len(codes)))
        order = np.argsort(first)
        return Told(archs[first[order]], F[latest[order]], G[latest[order]])

    def state_dict(self) -> State:
        """See `SearchAlgorithm`."""
        told = self.told
        return self._identity() | {
            "seed": self.seed,
            "tells": self.tells,
            "seen": self.seen.dump(),
            "told": None
            if told is None
            else {
                "archs": told.archs.tolist(),
                "F": told.F.tolist(),
                "G": told.G.tolist(),
                "objectives": told.F.shape[1],
                "constraints": told.G.shape[1],
            },
            "models": self.models.state_dict(),
            "own": self.own_state(),
        }

    def load_state_dict(self, state: State) -> None:
        """See `SearchAlgorithm`."""
        check_state(state, self._identity())
        self.seed, self.tells = state["seed"], state["tells"]
        self.seen.load(state["seen"])
        saved = state["told"]
        if saved is None:
            self.told = None
        else:
            n = len(saved["archs"])
            self.told = Told(
                np.array(saved["archs"], np.int64).reshape(n, len(self.space.cardinality)),
                np.array(saved["F"], float).reshape(n, saved["objectives"]),
                np.array(saved["G"], float).reshape(n, saved["constraints"]),
            )
        self.models.load_state_dict(state["models"])
        self.load_own_state(state["own"])

    def _identity(self) -> State:
        return {
            "algorithm": self.algorithm,
            "version": self.version,
            "cardinality": self.space.cardinality.tolist(),
        }
