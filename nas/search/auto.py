"""The recommended search: a design that fills the space, then models with local moves inside."""

from functools import cached_property

import numpy as np
from jaxtyping import Int

from nas.pareto import nondominated
from nas.search.acquisition import choose
from nas.search.candidates import Pool, evolved, pool_of, whole
from nas.search.history import HistorySearch
from nas.search.models import Features, Fitted
from nas.search.proposals import Proposals
from nas.search.told import Told, best_first
from nas.search.variation import MUTATIONS
from predictors.design import farthest_first
from search_spaces.space import Archs, SearchSpace

# Candidates that are sampled from jointly.
_JOINT = 300
# Candidates whose spread is looked at, of all in a small space.
_LIKELY = 2000
_DESIGN_POOL = 1000
_WIDTH = 1.0
# From so many on evaluations are cheap, and a genetic search makes more of them.
_MANY = 1200
_PARENTS = 96
_ROUNDS = 8
# Rank correlation of left-out labels from which on the models have their way.
_FULL_TRUST = 0.6
_LEAST_TRUST = 0.25
_LEADERS = 5
# Outweighs every difference between candidates.
_FORBID = 1e3


class Auto(HistorySearch):
    """Gaussian processes and Thompson sampling; local moves where the models tell little.

    It starts with architectures far from each other. Then each proposal is the best by a sample
    from the models (for several objectives: the one that adds most to the front). The less the
    models' left-out predictions agree with the labels, the more proposals are neighbours of the
    best. Where more than a thousand were evaluated, it goes on as a genetic search.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        start: architectures of the design; by default 10, or half the knobs if these are more.
    """

    algorithm = "auto"
    modelled = True
    last_fit = _MANY

    def __init__(self, space: SearchSpace, seed: int, *, start: int | None = None) -> None:
        super().__init__(space, seed)
        self.first_fit = start or min(max(10, len(space.knobs) // 2), 30)

    def restrict(self, archs: Archs) -> None:
        """See `Restrictable`."""
        super().restrict(archs)
        for known in ("_pool", "_design"):
            self.__dict__.pop(known, None)

    def start(self, rng: np.random.Generator, proposals: Proposals) -> None:  # noqa: ARG002
        """The design."""
        proposals.fill(lambda _, __: self._design, 1)

    def propose(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """What is left of the design, then by the models."""
        if len(self.seen) < self.first_fit:
            proposals.fill(lambda _, __: self._design, 1, n=self.first_fit - len(self.seen))
        elif len(told) >= _MANY:
            proposals.fill(lambda attempt, n: self._children(rng, told, n, attempt), _ROUNDS)
        elif self.models.ready:
            proposals.fill(lambda _, n: self._by_models(rng, told, n), 2)

    @cached_property
    def _design(self) -> Archs:
        rng = np.random.default_rng(self.seed)
        only = self.seen.only
        drawn = self.space.sample(rng, _DESIGN_POOL) if only is None else rng.permutation(only)
        pool = np.unique(drawn[:_DESIGN_POOL], axis=0)
        return pool[farthest_first(self.space, pool, self.first_fit, self.seed)]

    @cached_property
    def _pool(self) -> Pool | None:
        found, only = whole(self.space), self.seen.only
        return pool_of(self.space, only) if found is None and only is not None else found

    def _by_models(self, rng: np.random.Generator, told: Told, n: int) -> Archs:
        fitted = self.models.given(told)
        near = self._unseen(np.concatenate([self.space.neighbours(a) for a in _leaders(rng, told)]))
        archs, x = self._candidates(rng, told, fitted, near, max(_JOINT, 2 * n))
        if not len(archs):
            return archs
        draws = np.stack([m.draws(rng, x, n) for m in fitted.objectives], axis=2)
        draws += _FORBID * fitted.violation(x)[None, :, None]
        local = np.isin(self.seen.codes(archs), self.seen.codes(near))
        if local.any():
            moves = rng.random(n) > _trust(fitted)
            draws += _FORBID * (moves[:, None] & ~local[None, :])[:, :, None]
        feasible = fitted.told.violation == 0
        known = fitted.scaled[feasible if feasible.any() else slice(None)]
        return archs[choose(rng, draws, known)]

    def _candidates(
        self, rng: np.random.Generator, told: Told, fitted: Fitted, near: Archs, n: int
    ) -> tuple[Int[np.ndarray, "c k"], Features]:
        """The most promising by their confidence bounds, and some neighbours of the best."""
        pool = self._pool
        if pool is not None:
            rows = np.flatnonzero(~self.seen.contains(pool.codes))
            x = pool.coarse[rows]
            likely = best_first(fitted.means(x), fitted.violation(x))[:_LIKELY]
            local = np.flatnonzero(np.isin(pool.codes[rows], self.seen.codes(near)))
            rows = rows[np.union1d(likely, local)]
            archs, x = pool.archs[rows], pool.x[rows]
        else:

            def estimate(archs: Archs) -> tuple[np.ndarray, np.ndarray]:
                x = self.models.features(archs)
                return fitted.optimistic(x, _WIDTH), fitted.violation(x)

            archs = evolved(self.space, self.seen, told, rng, estimate)
            archs = np.unique(np.concatenate([archs, near]), axis=0)
            x = self.models.features(archs)
        best = best_first(fitted.optimistic(x, _WIDTH), fitted.violation(x))
        local = np.isin(self.seen.codes(archs[best]), self.seen.codes(near))
        chosen = np.concatenate([best[:n], best[n:][local[n:]][: n // 4]])
        return archs[chosen], x[chosen]

    def _unseen(self, archs: Archs) -> Int[np.ndarray, "u k"]:
        return archs[~self.seen.contains(self.seen.codes(archs))]

    def _children(self, rng: np.random.Generator, told: Told, n: int, attempt: int) -> Archs:
        parents = told.archs[told.order()[:_PARENTS]]
        first, second = rng.integers(0, len(parents), (2, 2, n)).min(axis=0)
        active = self.space.active(parents)
        both = active[first], active[second]
        children = self.variation.cross(rng, parents[first], parents[second], both)
        rate = (MUTATIONS + attempt) / np.maximum(active[first].sum(axis=1), 1)
        return self.variation.mutate(rng, children, rate)


def _leaders(rng: np.random.Generator, told: Told) -> Archs:
    """Some of the front, or the least violating."""
    order = told.order()
    violation = told.violation[order]
    front = order[violation == violation[0]]
    if violation[0] == 0:
        front = front[nondominated(told.F[front])]
    return told.archs[rng.permutation(front)[:_LEADERS]]


def _trust(fitted: Fitted) -> float:
    """Share of the proposals that may be anywhere, by how well left-out labels are ranked."""
    return float(np.clip(fitted.skill / _FULL_TRUST, _LEAST_TRUST, 1.0))
