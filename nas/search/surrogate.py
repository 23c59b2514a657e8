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

from search_spaces.space import Archs, SearchSpace

_ROOT3 = 3**0.5
# Priors of the logarithms: signal, linear part, noise (variances), then every length scale.
_PRIOR_MEAN = np.log([1.0, 0.3, 0.05])
_PRIOR_STD = 1.0
_STEPS = 40
_JITTER = 1e-6

Groups = tuple[Float64[np.ndarray, "n f"], ...]


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
        self._ordered = [i for i, k in enumerate(space.knobs) if k.ordered and len(k.options) > 2]
        sample = self._raw(space.sample(np.random.default_rng(0), 2000))
        self._centre = [part.mean(0) for part in sample]
        self._scale = [max(float(np.sqrt(part.var(0).sum())), 1e-12) for part in sample]

    def __call__(self, archs: Archs) -> Features:
        """A row an architecture."""
        parts = zip(self._raw(archs), self._centre, self._scale, strict=True)
        return Features(tuple((part - centre) / scale for part, centre, scale in parts))

    def _raw(self, archs: Archs) -> list[Float64[np.ndarray, "n f"]]:
        archs = self._space.canonical(archs)
        top = np.maximum(self._space.cardinality - 1, 1)
        ranks = (archs / top[None, :])[:, self._ordered]
        return [np.concatenate([self._space.onehot(archs).astype(float), ranks], axis=1)]


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

    def covariance(self, a: Features, b: Features) -> Float64[np.ndarray, "n k"]:
        """Kernel between rows, without noise."""
        signal, linear, _ = self.variances
        inverse = np.exp(-2 * np.array(self.log[3:]))
        r2 = sum(i * d for i, d in zip(inverse, a.squared_distances(b), strict=True))
        r = np.sqrt(3 * r2)
        return signal * (1 + r) * np.exp(-r) + linear * a.linear(b) + 1.0

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
        lower = cholesky(signal * matern + slope * linear + (noise + _JITTER) * eye + 1.0, lower=True)
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

    def mean(self, x: Features) -> Float64[np.ndarray, " k"]:
        """Means alone."""
        return self._hyper.covariance(x, self._x) @ self._weights

    def marginals(
        self, x: Features
    ) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """Mean and standard deviation of the noiseless function."""
        cross = self._hyper.covariance(x, self._x)
        half = solve_triangular(self._lower, cross.T, lower=True)
        variance = self._hyper.variance(x) - (half**2).sum(0)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    def draws(
        self, rng: np.random.Generator, x: Features, n: int
    ) -> Float64[np.ndarray, "n k"]:
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
