"""What NSGA-II, NSGA-III and MOEA/D share: a population on integer matrices, no Python for each
architecture. They differ in who survives.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from nas.pareto import total_violation
from nas.search.base import State, check_state, check_told
from nas.search.proposals import Proposals
from nas.search.seen import Seen
from nas.search.variation import MUTATIONS, Variation
from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace

# Each round of variation mutates more than the last, for when all that is near was seen.
_VARIATION_ROUNDS = 8
# Children beyond those that are missing, in place of the ones that were seen.
_SPARE = 1.25


@dataclass(frozen=True)
class Population:
    """The survivors, best first.

    Args:
        archs: canonical and distinct, in narrow integers (`SearchSpace.narrow`).
        F: objectives.
        violation: total violation of the constraints, 0 where feasible.
        codes: of the architectures (`Seen.codes`).
    """

    archs: Archs
    F: Float[np.ndarray, "n m"]
    violation: Float[np.ndarray, " n"]
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.archs)

    def rows(self, chosen: Int[np.ndarray, " r"]) -> "Population":
        """Some of them."""
        return Population(
            self.archs.take(chosen, axis=0),
            self.F.take(chosen, axis=0),
            self.violation[chosen],
            self.codes[chosen],
        )

    def joined(self, younger: "Population") -> "Population":
        """Both, each architecture once with its latest values."""
        parts = [
            np.concatenate([getattr(self, name), getattr(younger, name)])
            for name in ("archs", "F", "violation", "codes")
        ]
        both = Population(*parts)
        order = np.argsort(both.codes, kind="stable")
        codes = both.codes[order]
        last = np.ones(len(codes), bool)
        last[:-1] = codes[1:] != codes[:-1]
        return both.rows(order[last])


class Genetic:
    """Base of the genetic searches: tournament, uniform crossover, mutation, and no repeats.

    A subclass gives `algorithm`, its name, and `survivors`. The random choices of a proposal are
    drawn from the seed and the number of tells, so asking changes nothing.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        population: how many architectures survive a generation; also the number of random ones
            that it starts from, the largest and the smallest included.

    Raises:
        InputError: the population is too small to be varied.
    """

    algorithm: str
    version = 1

    def __init__(self, space: SearchSpace, seed: int, *, population: int = 96) -> None:
        if population < 4:
            raise InputError(f"population: must be at least 4, got {population}")
        self.space = space
        self.seed = seed
        self.size = population
        self._tells = 0
        self._seen = Seen(space)
        self._population: Population | None = None
        self._variation = Variation(space)

    def survivors(
        self, F: Float[np.ndarray, "n m"], violation: Float[np.ndarray, " n"]
    ) -> Int[np.ndarray, " s"]:
        """Rows that survive, at most `self.size`, best first: the better is the likelier parent."""
        raise NotImplementedError

    def partners(
        self, rng: np.random.Generator, population: Population, n: int
    ) -> Int[np.ndarray, "2 n"]:
        """Rows of the parents of `n` children: each the better of two drawn at random."""
        return rng.integers(0, len(population), (2, 2, n)).min(axis=0)

    def restrict(self, archs: Archs) -> None:
        """See `Restrictable`."""
        self._seen.restrict(self.space.canonical(archs))

    def ask(self, n: int) -> Archs:
        """See `SearchAlgorithm`."""
        rng = np.random.default_rng([self.seed, self._tells])
        proposals = Proposals(self.space, self._seen, n)
        start = max(self.size - len(self._seen), 0)
        if start:
            ends = np.stack([self.space.largest(), self.space.smallest()])
            proposals.fill(lambda _, missing: ends[:missing], rounds=1, n=start)
            proposals.fill(lambda _, missing: self.space.sample(rng, missing), 2, n=start)
        population = self._population
        if population is not None and len(population):
            active = self.space.active(population.archs)
            proposals.fill(
                lambda attempt, missing: self._offspring(
                    rng, population, active, int(missing * _SPARE), MUTATIONS + attempt
                ),
                _VARIATION_ROUNDS,
            )
        proposals.fill_at_random(rng)
        return proposals.archs

    def tell(self, archs: Archs, F: Float[np.ndarray, "n m"], G: Float[np.ndarray, "n c"]) -> None:
        """See `SearchAlgorithm`; an architecture that is told again takes the new values."""
        check_told(self.space, archs, F, G)
        archs = self.space.canonical(archs.astype(self.space.narrow))
        codes = self._seen.codes(archs)
        self._seen.add(codes)
        self._tells += 1
        known = np.isfinite(F).all(axis=1) & np.isfinite(G).all(axis=1)
        told = Population(
            archs[known], F[known].astype(float), total_violation(G[known]), codes[known]
        )
        old = told.rows(np.zeros(0, np.int64)) if self._population is None else self._population
        both = old.joined(told)
        self._population = both.rows(self.survivors(both.F, both.violation))

    def state_dict(self) -> State:
        """See `SearchAlgorithm`."""
        population = self._population
        return self._identity() | {
            "seed": self.seed,
            "tells": self._tells,
            "seen": self._seen.dump(),
            "population": None
            if population is None
            else {
                "archs": population.archs.tolist(),
                "F": population.F.tolist(),
                "violation": population.violation.tolist(),
                "objectives": population.F.shape[1],
            },
        }

    def load_state_dict(self, state: State) -> None:
        """See `SearchAlgorithm`."""
        check_state(state, self._identity())
        self.seed, self._tells = state["seed"], state["tells"]
        self._seen.load(state["seen"])
        saved = state["population"]
        if saved is None:
            self._population = None
            return
        archs = np.array(saved["archs"], self.space.narrow).reshape(-1, len(self.space.cardinality))
        self._population = Population(
            archs,
            np.array(saved["F"], float).reshape(-1, saved["objectives"]),
            np.array(saved["violation"], float),
            self._seen.codes(archs),
        )

    def _identity(self) -> State:
        return {
            "algorithm": self.algorithm,
            "version": self.version,
            "cardinality": self.space.cardinality.tolist(),
        }

    def _offspring(
        self,
        rng: np.random.Generator,
        population: Population,
        active: Bool[np.ndarray, "p k"],
        n: int,
        mutations: float,
    ) -> Archs:
        """Children of `n` pairs, with so many mutated knobs expected in each."""
        first, second = self.partners(rng, population, n)
        archs = population.archs
        reads = active.take(first, axis=0), active.take(second, axis=0)
        children = self._variation.cross(
            rng, archs.take(first, axis=0), archs.take(second, axis=0), reads
        )
        rate = mutations / np.maximum(active.sum(axis=1), 1)[first]
        return self._variation.mutate(rng, children, rate)
