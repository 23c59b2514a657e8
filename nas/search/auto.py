"""The recommended search: a design that fills the space, then models with local moves inside."""

import numpy as np
from jaxtyping import Int

from nas.search.acquisition import choose, most_gained
from nas.search.designed import DesignedSearch
from nas.search.models import Features, Fitted
from nas.search.proposals import Proposals
from nas.search.told import Told
from nas.search.variation import MUTATIONS
from search_spaces.space import Archs

# Candidates that are sampled from jointly.
_JOINT = 200
# From so many on evaluations are cheap, and a genetic search makes more of them.
_MANY = 1200
_PARENTS = 96
_ROUNDS = 8
# Rank correlation of left-out labels from which on proposals may be anywhere, else fewer of them.
_FULL_TRUST = 0.6
_LEAST_TRUST = 0.25
# The expected gain is for models that rank as well as this (noise leads it astray, and so did tight
# bounds), and takes too long of more objectives.
_SURE, _FEW_OBJECTIVES = 0.8, 3
# Outweighs every difference between candidates.
_FORBID = 1e3


class Auto(DesignedSearch):
    """Gaussian processes and the expected gain of batches; local moves where models tell little.

    It starts with architectures far from each other. While its models rank left-out labels well,
    and there are no bounds and three objectives at most, proposals are those that are expected to
    add most to the front, as of `qehvi`; bounds are also lists of what may be proposed that lack
    what was told before. Else they are the best by a sample from the models each,
    and the worse the models rank, the more of them are neighbours of the best. Where more than a
    thousand were evaluated, it goes on as a genetic search.

    Args:
        space: where it searches.
        seed: of the random choices, not negative.
        start: architectures of the design; by default 10, or half the knobs if these are more.
    """

    algorithm = "auto"
    version = 4
    last_fit = _MANY

    def go_on(self, rng: np.random.Generator, told: Told, proposals: Proposals) -> None:
        """By the models while evaluations are few, then as a genetic search."""
        if len(told) >= _MANY:
            proposals.fill(lambda attempt, n: self._children(rng, told, n, attempt), _ROUNDS)
        elif self.models.ready:
            proposals.fill(lambda _, n: self._by_models(rng, told, n), 2)

    def _by_models(self, rng: np.random.Generator, told: Told, n: int) -> Archs:
        fitted = self.models.given(told)
        archs, x, local = self.candidates.promising(rng, told, fitted, max(_JOINT, 2 * n))
        if not len(archs):
            return archs
        skill = fitted.skill
        trust = np.clip(skill / _FULL_TRUST, _LEAST_TRUST, 1.0)
        moves = int((rng.random(n) > trust).sum()) if local.any() else 0
        bound = bool(fitted.constraints) or not fitted.eligible.all()
        few = fitted.scaled.shape[1] <= _FEW_OBJECTIVES
        gains = few and not bound and skill >= _SURE
        chosen = (most_gained if gains else _sampled)(rng, fitted, x, n - moves)
        left = np.flatnonzero(local & ~np.isin(np.arange(len(x)), chosen))
        chosen = np.concatenate([chosen, left[_sampled(rng, fitted, x[left], moves)]])
        return archs[chosen]

    def _children(self, rng: np.random.Generator, told: Told, n: int, attempt: int) -> Archs:
        parents = told.archs[told.order()[:_PARENTS]]
        first, second = rng.integers(0, len(parents), (2, 2, n)).min(axis=0)
        active = self.space.active(parents)
        both = active[first], active[second]
        children = self.variation.cross(rng, parents[first], parents[second], both)
        rate = (MUTATIONS + attempt) / np.maximum(active[first].sum(axis=1), 1)
        return self.variation.mutate(rng, children, rate)


def _sampled(
    rng: np.random.Generator, fitted: Fitted, x: Features, n: int
) -> Int[np.ndarray, " chosen"]:
    """The best by a sample each, feasible ones before all others."""
    draws = fitted.draws(rng, x, n) + _FORBID * fitted.violation(x)[None, :, None]
    return choose(rng, draws, fitted.known)
