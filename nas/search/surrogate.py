"""The Gaussian process inside the model-based searches: cheap enough to be asked at every step.

Matern-3/2 over groups of features, a length scale a group, plus a linear kernel, a constant and
noise; hyper-parameters at the maximum of their posterior (Rasmussen & Williams, "Gaussian Processes
for Machine Learning", 2006, chapters 2, 4, 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.stats import norm, rankdata

from predictors.descriptors import descriptors_of
from search_spaces.space import Archs, SearchSpace

# Priors of the logarithms: signal, linear part, noise (variances), then every length scale.
_PRIOR_MEAN = np.log([1.0, 0.3, 0.05])
_PRIOR_STD = 1.0
_STEPS = 40
_JITTER = 1e-6
_SAMPLE = 2000
_LEAST_SPREAD = 1e-9

Groups = tuple[Float[np.ndarray, "n _"], ...]


@dataclass(frozen=True)
class Features:
    """Rows of features.

    Args:
        groups: scaled so that a length scale of 1 is typical for each.
    """

    groups: Groups

    def rows(self, chosen: Any) -> "Features":
        """Some rows."""
        return Features(tuple(group[chosen] for group in self.groups))

    def single(self) -> "Features":
        """The same in single precision, for where there are very many rows."""
        return Features(tuple(group.astype(np.float32) for group in self.groups))

    def squared_distances(self, other: "Features") -> list[Float64[np.ndarray, "n k"]]:
        """Of every pair of rows, by group."""
        return [
            np.maximum(
                (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * (a @ b.T),
                0.0,
            )
            for a, b in zip(self.groups, other.groups, strict=True)
        ]

    def linear(self, other: "Features") -> Float64[np.ndarray, "n k"]:
        """Inner products of the first group."""
        return self.groups[0] @ other.groups[0].T


class FeatureMap:
    """Features of architectures: descriptors of their graphs, or their choices where a space has
    no networks.

    Args:
        space: where they come from.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        sample = space.sample(np.random.default_rng(0), _SAMPLE)
        self._described = descriptors_of(space) if space.has_networks else None
        raw = self._raw(sample)
        self._centre = [part.mean(0) for part in raw]
        spread = [np.maximum(part.std(0), _LEAST_SPREAD) for part in raw]
        # Descriptors differ in their units; what counts sequences or options does not.
        own = [np.sqrt(len(s)) * s for s in spread[:1]] if self._described else []
        self._scale = [*own, *(np.sqrt((s**2).sum()) for s in spread[len(own) :])]

    def __call__(self, archs: Archs) -> Features:
        """A row an architecture."""
        parts = zip(self._raw(archs), self._centre, self._scale, strict=True)
        return Features(tuple((part - centre) / scale for part, centre, scale in parts))

    def _raw(self, archs: Archs) -> list[Float64[np.ndarray, "n _"]]:
        archs = self._space.canonical(archs)
        if self._described is None:
            ordered = [i for i, k in enumerate(self._space.knobs) if k.ordered]
            ranks = archs / np.maximum(self._space.cardinality - 1, 1)[None, :]
            onehot = self._space.onehot(archs).astype(float)
            return [np.concatenate([onehot, ranks[:, ordered]], axis=1)]
        values, kinds = self._described(archs), np.array(self._described.groups)
        if "cells" not in kinds:
            return [values[:, kinds == "stages"], values[:, kinds == "choices"]]
        in_all = np.array([name == "all.macs" for name in self._described.names])
        return [values[:, (kinds == "cells") | in_all], values[:, kinds == "sequences"]]


@dataclass(frozen=True)
class Hyperparameters:
    """Of the kernel, as logarithms.

    Args:
        log: signal, linear part, noise (variances), then the length scale of each group.
    """

    log: tuple[float, ...]

    @property
    def variances(self) -> tuple[float, float, float]:
        """Signal, linear part, noise."""
        signal, linear, noise = np.exp(self.log[:3]).tolist()
        return signal, linear, noise

    def covariance(self, a: Features, b: Features) -> Float[np.ndarray, "n k"]:
        """Kernel between rows, without noise; in the precision of the features."""
        signal, linear, _ = self.variances
        left, right = self._stretched(a), self._stretched(b)
        r2 = left @ (-2 * right.T)
        r2 += (left**2).sum(1)[:, None]
        r2 += (right**2).sum(1)[None, :]
        r = np.sqrt(np.maximum(r2, 0, out=r2), out=r2)
        out = np.exp(-r)
        out *= signal
        r += 1
        out *= r
        out += (linear * a.groups[0]) @ b.groups[0].T
        out += 1
        return out

    def _stretched(self, x: Features) -> Float[np.ndarray, "n f"]:
        """All groups side by side, so that distances are the kernel's, times root 3."""
        factors = 3**0.5 * np.exp(-np.array(self.log[3:]))
        parts = [g * f.astype(g.dtype) for g, f in zip(x.groups, factors, strict=True)]
        return np.concatenate(parts, axis=1)

    def variance(self, a: Features) -> Float64[np.ndarray, " n"]:
        """Diagonal of `covariance(a, a)`."""
        signal, linear, _ = self.variances
        return signal + linear * (a.groups[0] ** 2).sum(1) + 1.0


def fit_hyperparameters(x: Features, y: Float64[np.ndarray, " n"]) -> Hyperparameters:
    """Maximum a posteriori by L-BFGS with exact gradients.

    Args:
        x: features.
        y: labels of about unit variance.
    """
    distances, linear = x.squared_distances(x), x.linear(x)
    mean = np.concatenate([_PRIOR_MEAN, np.zeros(len(distances))])
    eye = np.eye(len(y))

    def loss(log: np.ndarray) -> tuple[float, np.ndarray]:
        signal, slope, noise = np.exp(log[:3])
        inverse = np.exp(-2 * log[3:])
        r = np.sqrt(3 * sum(i * d for i, d in zip(inverse, distances, strict=True)))
        decay = np.exp(-r)
        matern = (1 + r) * decay
        lower = cholesky(
            signal * matern + slope * linear + (noise + _JITTER) * eye + 1.0, lower=True
        )
        weights = cho_solve((lower, True), y)
        off = (log - mean) / _PRIOR_STD
        value = 0.5 * y @ weights + np.log(np.diag(lower)).sum() + 0.5 * off @ off
        sensitivity = 0.5 * (np.outer(weights, weights) - cho_solve((lower, True), eye))
        # d matern / d log length scale = 3 exp(-r) d2 / scale^2
        shared = 3 * signal * sensitivity * decay
        gradient = [
            signal * (sensitivity * matern).sum(),
            slope * (sensitivity * linear).sum(),
            noise * np.trace(sensitivity),
            *(i * (shared * d).sum() for i, d in zip(inverse, distances, strict=True)),
        ]
        return float(value), off / _PRIOR_STD - np.array(gradient)

    bounds = [(m - 5.0, m + 5.0) for m in mean]
    options = {"maxiter": _STEPS}
    found = minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Hyperparameters(tuple(found.x.tolist()))


class Posterior:
    """A Gaussian process given labels.

    Args:
        hyperparameters: of the kernel.
        x: features of the labelled.
        y: labels of about unit variance.
    """

    def __init__(
        self, hyperparameters: Hyperparameters, x: Features, y: Float64[np.ndarray, " n"]
    ) -> None:
        self._hyper = hyperparameters
        self._x = x
        self._y = y
        noise = hyperparameters.variances[2] + _JITTER
        kernel = hyperparameters.covariance(x, x) + noise * np.eye(len(y))
        self._lower = cholesky(kernel, lower=True)
        self._weights = cho_solve((self._lower, True), y)

    def mean(self, x: Features) -> Float[np.ndarray, " k"]:
        """Means alone, in the precision of the features."""
        single = x.groups[0].dtype == np.float32
        labelled = self._x.single() if single else self._x
        return self._hyper.covariance(x, labelled) @ self._weights.astype(x.groups[0].dtype)

    def marginals(self, x: Features) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """Mean and standard deviation of the noiseless function."""
        cross = self._hyper.covariance(x, self._x)
        half = solve_triangular(self._lower, cross.T, lower=True)
        variance = self._hyper.variance(x) - (half**2).sum(0)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def draws(self, rng: np.random.Generator, x: Features, n: int) -> Float64[np.ndarray, "n k"]:
        """Joint samples of the noiseless function."""
        cross = self._hyper.covariance(x, self._x)
        half = solve_triangular(self._lower, cross.T, lower=True)
        covariance = self._hyper.covariance(x, x) - half.T @ half
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))[None, :]
        return (cross @ self._weights)[None, :] + rng.normal(size=(n, len(values))) @ root.T

    @cached_property
    def left_out(self) -> Float64[np.ndarray, " n"]:
        """Prediction of each label from all others (Rasmussen & Williams, eq. 5.12)."""
        inverse = cho_solve((self._lower, True), np.eye(len(self._y)))
        return self._y - self._weights / np.diag(inverse)

    @cached_property
    def skill(self) -> float:
        """Rank correlation of `left_out` with the labels; 0 where it can't be told."""
        if np.ptp(self._y) == 0 or np.ptp(self.left_out) == 0:
            return 0.0
        return float(np.corrcoef(rankdata(self.left_out), rankdata(self._y))[0, 1])


def normal_scores(y: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Ranks as quantiles of the normal distribution: outliers and plateaus lose their weight."""
    return norm.ppf((rankdata(y) - 0.5) / len(y))


def spaced(x: Features, n: int, rng: np.random.Generator) -> Sequence[int]:
    """Rows that fill the space: each the farthest from those before it.

    Args:
        x: candidates.
        n: how many.
        rng: of the first.
    """
    chosen = [int(rng.integers(len(x.groups[0])))]
    nearest = np.full(len(x.groups[0]), np.inf)
    while len(chosen) < min(n, len(nearest)):
        last = x.rows([chosen[-1]])
        nearest = np.minimum(nearest, sum(d[:, 0] for d in x.squared_distances(last)))
        chosen.append(int(np.argmax(nearest)))
    return chosen
