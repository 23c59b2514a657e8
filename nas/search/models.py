"""Gaussian processes of all objectives and constraints of a search, refitted now and then."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from nas.search.base import State
from nas.search.seen import Seen
from nas.search.told import Told
from predictors import matern
from predictors.metrics import spearman
from predictors.process import Process, condition
from predictors.scaling import scaling_of
from predictors.warp import normal_scores
from search_spaces.space import Archs, SearchSpace

# Hyper-parameters are fitted again once there are so many times the labels.
_GROWTH = 1.4
# Fewer labels tell nothing.
FEWEST = 4
# Labels that a model sees: the best, and as many of the latest.
_BEST = _LATEST = 150

Features = Float[np.ndarray, "_ f"]


@dataclass(frozen=True)
class Fitted:
    """Models given what was told.

    Args:
        told: what they saw.
        eligible: which of it counts as reached: is feasible, and might be proposed.
        x: its features.
        scaled: its objectives as the models see them.
        objectives: a model each.
        constraints: a model each.
        centre: of the constraints' models' labels.
        scale: of the constraints' models' labels.
    """

    told: Told
    eligible: Bool[np.ndarray, " n"]
    x: Features
    scaled: Float64[np.ndarray, "n m"]
    objectives: tuple[Process, ...]
    constraints: tuple[Process, ...]
    centre: Float64[np.ndarray, " c"]
    scale: Float64[np.ndarray, " c"]

    def means(self, x: Features) -> Float64[np.ndarray, "n m"]:
        """Estimates of the objectives, as the models see them."""
        return np.stack([model.mean(x) for model in self.objectives], axis=1)

    def optimistic(self, x: Features, width: float) -> Float64[np.ndarray, "n m"]:
        """Lower confidence bounds of the objectives."""
        marginals = [model.marginals(x) for model in self.objectives]
        return np.stack([mean - width * np.sqrt(var) for mean, var in marginals], axis=1)

    def draws(self, rng: np.random.Generator, x: Features, n: int) -> Float64[np.ndarray, "n c m"]:
        """Joint samples of the objectives of `c` architectures, as the models see them."""
        return np.stack([model.draws(rng, x, n) for model in self.objectives], axis=2)

    def drawn_violation(
        self, rng: np.random.Generator, x: Features, n: int
    ) -> Float64[np.ndarray, "n c"]:
        """Joint samples of the total violation of the constraints, 0 where they are met."""
        total = np.zeros((n, len(x)))
        for model, centre, scale in zip(self.constraints, self.centre, self.scale, strict=True):
            total += np.maximum(model.draws(rng, x, n) * scale + centre, 0.0)
        return total

    @property
    def known(self) -> Float64[np.ndarray, "t m"]:
        """Objectives of what is eligible, as the models see them; the worst if nothing is."""
        if not self.eligible.any():
            return self.scaled.max(axis=0, keepdims=True)
        return self.scaled[self.eligible]

    def scalar(
        self, combine: Callable[[Float64[np.ndarray, "n m"]], Float64[np.ndarray, " n"]]
    ) -> tuple[Process, float]:
        """A model of one figure made of the objectives, and its best eligible value so far.

        Args:
            combine: of objectives scaled to [0, 1].
        """
        low, extent = self.scaled.min(axis=0), np.ptp(self.scaled, axis=0)
        scaled = (self.scaled - low[None, :]) / np.where(extent > 0, extent, 1.0)[None, :]
        y = _standardised(combine(scaled)[:, None])[0][:, 0]
        best = float(y[self.eligible].min() if self.eligible.any() else y.min())
        layout = self.objectives[0].groups, self.objectives[0].linear
        return condition(self.x, y, *layout, matern.fit(self.x, y, *layout)), best

    def violation(self, x: Features) -> Float64[np.ndarray, " n"]:
        """Estimated total violation of the constraints."""
        total = np.zeros(len(x))
        for model, centre, scale in zip(self.constraints, self.centre, self.scale, strict=True):
            total += np.maximum(model.mean(x) * scale + centre, 0.0)
        return total

    @property
    def skill(self) -> float:
        """How well left-out labels are ranked: the least rank correlation of an objective, 0 where
        it can't be told.
        """
        return min(spearman(model.z, model.left_out) for model in self.objectives)


class Models:
    """Fits them when there is enough that is new; the state holds the hyper-parameters.

    Args:
        space: where the architectures come from.
        seen: which of them may be proposed.
    """

    def __init__(self, space: SearchSpace, seen: Seen) -> None:
        self._space = space
        self._seen = seen
        self._hyper: list[matern.Hyperparameters] = []
        self._fitted_on = 0

    def features(self, archs: Archs) -> Features:
        """Of any architectures."""
        return scaling_of(self._space)(archs)

    @property
    def ready(self) -> bool:
        """Whether hyper-parameters were fitted."""
        return bool(self._hyper)

    def refit(self, told: Told) -> None:
        """Fit the hyper-parameters if there is much more to learn from than last time."""
        if len(told) < max(_GROWTH * self._fitted_on, 2):
            return
        self._fitted_on = len(told)
        seen = _subset(told)
        x = self.features(seen.archs)
        labels = [*_scaled(seen.F).T, *_standardised(seen.G)[0].T]
        self._hyper = [matern.fit(x, y, *self._layout) for y in labels]

    def given(self, told: Told) -> Fitted:
        """Models that know what was told (some of it, where it is much)."""
        told = _subset(told)
        x, F = self.features(told.archs), _scaled(told.F)
        G, centre, scale = _standardised(told.G)
        m = F.shape[1]
        labels = zip([*F.T, *G.T], self._hyper, strict=True)
        models = tuple(condition(x, y, *self._layout, hyper) for y, hyper in labels)
        # What was told before the search was restricted to others is nothing to improve on.
        eligible = (told.violation == 0) & self._seen.permits(self._seen.codes(told.archs))
        return Fitted(told, eligible, x, F, models[:m], models[m:], centre, scale)

    @property
    def _layout(self) -> tuple[np.ndarray, np.ndarray]:
        scaling = scaling_of(self._space)
        return scaling.groups, scaling.linear

    def state_dict(self) -> State:
        """Hyper-parameters, as they can't be told from the labels of now."""
        hyper = [vars(h) | {"inverse": h.inverse.tolist()} for h in self._hyper]
        return {"hyper": hyper, "fitted_on": self._fitted_on}

    def load_state_dict(self, state: State) -> None:
        """Inverse of `state_dict`."""
        self._hyper = [
            matern.Hyperparameters(**h | {"inverse": np.array(h["inverse"])})
            for h in state["hyper"]
        ]
        self._fitted_on = state["fitted_on"]


def _subset(told: Told) -> Told:
    if len(told) <= _BEST + _LATEST:
        return told
    best = told.order()[:_BEST]
    rows = np.unique(np.concatenate([best, np.arange(len(told) - _LATEST, len(told))]))
    return told.rows(rows)


def _scaled(F: Float[np.ndarray, "n m"]) -> Float64[np.ndarray, "n m"]:
    """One objective by its ranks; several by their values, as volumes are made of them."""
    if F.shape[1] == 1:
        return normal_scores(F[:, 0])[:, None]
    return _standardised(F)[0]


def _standardised(
    values: Float[np.ndarray, "n c"],
) -> tuple[Float64[np.ndarray, "n c"], Float64[np.ndarray, " c"], Float64[np.ndarray, " c"]]:
    centre = values.mean(0)
    scale = np.where(np.ptp(values, axis=0) > 0, values.std(0), 1.0)
    return (values - centre[None, :]) / scale[None, :], centre, scale
