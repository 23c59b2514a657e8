"""NSGA-II on integer matrices.

Deb, Pratap, Agarwal, Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II",
IEEE Transactions on Evolutionary Computation 6(2), 2002.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from nas.pareto import crowding_distance, nondominated_sort, total_violation
from nas.search.base import State, check_state, check_told
from nas.search.proposals import Proposals
from nas.search.seen import Seen
from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace

# Chosen by hypervolume on three integer problems: half the usual mutation rate, as each mutation
# of an integer is a real change, and steps as often as resets.
_CROSSOVER = 0.9
_MUTATIONS = 0.5
_STEP = 0.5
# Each round of variation mutates more than the last, for when all that is near was seen.
_VARIATION_ROUNDS = 8


@dataclass(frozen=True)
class Population:
    """The survivors, best first: by rank, then by crowding distance.

    Args:
        archs: canonical and distinct.
        F: objectives.
        violation: total violation of the constraints, 0 where feasible.
    """

    archs: Archs
    F: Float[np.ndarray, "n m"]
    violation: Float[np.ndarray, " n"]


class NSGA2:
    """Elitist genetic search for a Pareto front, feasible architectures first.

    The random choices of a proposal are drawn from the seed and the number of tells, so asking
    changes nothing.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        population: how many architectures survive a generation; also the number of random ones
            that it starts from, the largest and the smallest included.

    Raises:
        InputError: the population is too small to be varied.
    """

    def __init__(self, space: SearchSpace, seed: int, *, population: int = 96) -> None:
        if population < 4:
            raise InputError(f"population: must be at least 4, got {population}")
        self._space = space
        self._seed = seed
        self._size = population
        self._tells = 0
        self._seen = Seen(space)
        self._population: Population | None = None
        self._ordered = np.array([knob.ordered for knob in space.knobs], bool)

    def ask(self, n: int) -> Archs:
        """See `SearchAlgorithm`."""
        rng = np.random.default_rng([self._seed, self._tells])
        proposals = Proposals(self._space, self._seen, n)
        start = max(self._size - len(self._seen), 0)
        if start:
            ends = np.stack([self._space.largest(), self._space.smallest()])
            proposals.fill(lambda _, missing: ends[:missing], rounds=1, n=start)
            proposals.fill(lambda _, missing: self._space.sample(rng, missing), 2, n=start)
        population = self._population
        if population is not None and len(population.archs):
            active = self._space.active(population.archs)
            proposals.fill(
                lambda attempt, missing: self._offspring(
                    rng, population.archs, active, missing, mutations=_MUTATIONS + attempt
                ),
                _VARIATION_ROUNDS,
            )
        proposals.fill_at_random(rng)
        return proposals.archs

    def tell(self, archs: Archs, F: Float[np.ndarray, "n m"], G: Float[np.ndarray, "n c"]) -> None:
        """See `SearchAlgorithm`; an architecture that is told again takes the new values."""
        check_told(self._space, archs, F, G)
        archs = self._space.canonical(archs)
        self._seen.add(self._seen.codes(archs))
        self._tells += 1
        known = np.isfinite(F).all(axis=1) & np.isfinite(G).all(axis=1)
        told = Population(archs[known], F[known].astype(float), total_violation(G[known]))
        self._population = self._survivors(told)

    def state_dict(self) -> State:
        """See `SearchAlgorithm`."""
        population = self._population
        return self._identity() | {
            "seed": self._seed,
            "tells": self._tells,
            "seen": self._seen.dump(),
            "population": population
            and {
                "archs": population.archs.tolist(),
                "F": population.F.tolist(),
                "violation": population.violation.tolist(),
                "objectives": population.F.shape[1],
            },
        }

    def load_state_dict(self, state: State) -> None:
        """See `SearchAlgorithm`."""
        check_state(state, self._identity())
        self._seed, self._tells = state["seed"], state["tells"]
        self._seen.load(state["seen"])
        saved = state["population"]
        self._population = saved and Population(
            np.array(saved["archs"], np.int64).reshape(-1, len(self._space.cardinality)),
            np.array(saved["F"], float).reshape(-1, saved["objectives"]),
            np.array(saved["violation"], float),
        )

    def _identity(self) -> State:
        return {"algorithm": "nsga2", "version": 1, "cardinality": self._space.cardinality.tolist()}

    def _survivors(self, told: Population) -> Population:
        """The best of the told and the population (§III-C), each architecture once."""
        if self._population is not None:
            old = self._population
            told = Population(
                np.concatenate([old.archs, told.archs]),
                np.concatenate([old.F, told.F]),
                np.concatenate([old.violation, told.violation]),
            )
        codes = self._seen.codes(told.archs)
        latest = len(codes) - 1 - np.unique(codes[::-1], return_index=True)[1]
        F, violation = told.F[latest], told.violation[latest]
        ranks = nondominated_sort(F, violation[:, None])
        best = np.lexsort((-crowding_distance(F, ranks), ranks))[: self._size]
        return Population(told.archs[latest][best], F[best], violation[best])

    def _offspring(
        self,
        rng: np.random.Generator,
        parents: Int[np.ndarray, "p k"],
        active: Bool[np.ndarray, "p k"],
        n: int,
        mutations: float,
    ) -> Archs:
        """Tournament, uniform crossover and mutation.

        A knob that only one parent reads comes from that parent, and one that neither reads is
        drawn at random: blocks that a deeper child gains would all be of the first option else.

        Args:
            rng: source of the choices.
            parents: the population, best first.
            active: which knobs each of them reads.
            n: number of children.
            mutations: mutated knobs expected in a child.
        """
        cardinality = self._space.cardinality
        shape = (n, len(cardinality))
        # The population is sorted, so the better of two is the one with the smaller index.
        first, second = rng.integers(0, len(parents), (2, 2, n)).min(axis=0)
        mixed = rng.random((n, 1)) < _CROSSOVER
        swap = mixed & (rng.random(shape) < 0.5)
        swap = np.where(active[first] == active[second], swap, active[second])
        children = np.where(swap, parents[second], parents[first])
        neither = ~(active[first] | active[second])
        drawn = np.floor(rng.random(shape) * cardinality[None, :]).astype(np.int64)
        children = np.where(neither, drawn, children)
        rate = mutations / np.maximum(active[first].sum(axis=1), 1)
        mutate = rng.random(shape) < rate[:, None]
        return np.where(mutate, self._mutated(rng, children), children)

    def _mutated(self, rng: np.random.Generator, archs: Archs) -> Archs:
        """Every entry changed: to any other option, in ordered knobs half the time by one step."""
        top = self._space.cardinality[None, :] - 1
        other = archs + 1 + np.floor(rng.random(archs.shape) * top).astype(np.int64)
        other = np.where(top > 0, other % (top + 1), 0)
        step = np.where(rng.random(archs.shape) < 0.5, 1, -1)
        step = np.where(archs == 0, 1, np.where(archs == top, -1, step))
        stepped = np.clip(archs + step, 0, top)
        use_step = self._ordered[None, :] & (rng.random(archs.shape) < _STEP)
        return np.where(use_step, stepped, other)
