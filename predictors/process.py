"""A Gaussian process that was told labels, with the kernel of `matern`.

Rasmussen & Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, §2.2 and §5.4.2.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors import matern

# Covariances at a time, so that they stay in the cache.
_IN_CACHE = 2**19
# Joint samples of rows that are alike need it to be drawn from.
_JITTER = 1e-6


@dataclass(frozen=True)
class Process:
    """A Gaussian process conditioned on labels.

    Args:
        x: features of the labelled rows.
        groups: number of each feature's group.
        linear: 1 for the features of the linear part, 0 for the others.
        hyper: of the covariance.
        z: the labels, about zero.
        weights: of the labelled rows in the mean.
        root: upper triangular; `root @ root.T` is the inverse covariance of the labels, noise in
            it.
    """

    x: Float64[np.ndarray, "n f"]
    groups: Int[np.ndarray, " f"]
    linear: Float64[np.ndarray, " f"]
    hyper: matern.Hyperparameters
    z: Float64[np.ndarray, " n"]
    weights: Float64[np.ndarray, " n"]
    root: Float64[np.ndarray, "n n"]

    def mean(self, x: Float[np.ndarray, "q f"]) -> Float64[np.ndarray, " q"]:
        """Means of rows, of covariances in the precision of the rows."""
        labelled = self.x.astype(x.dtype)
        out = np.empty(len(x))
        for part in self._chunks(len(x)):
            out[part] = self._covariance(x[part], labelled) @ self.weights
        return out

    def marginals(
        self, x: Float[np.ndarray, "q f"]
    ) -> tuple[Float64[np.ndarray, " q"], Float64[np.ndarray, " q"]]:
        """Means and variances of the function without noise, in the precision of the rows."""
        from scipy.linalg import get_blas_funcs

        labelled, root = self.x.astype(x.dtype), self.root.astype(x.dtype)
        multiply: Any = get_blas_funcs("trmm", dtype=x.dtype)
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for part in self._chunks(len(x)):
            k = self._covariance(x[part], labelled)
            mean[part] = k @ self.weights
            # Half the work of `k @ root`: what is below the diagonal is not multiplied.
            known = multiply(1.0, root.T, k.T, lower=True, overwrite_b=True)
            variance[part] = self._variance(x[part]) - np.einsum("ij,ij->j", known, known)
        return mean, np.maximum(variance, 0)

    def draws(
        self, rng: np.random.Generator, x: Float64[np.ndarray, "q f"], n: int
    ) -> Float64[np.ndarray, "n q"]:
        """Joint samples of the function without noise."""
        k = self._covariance(x, self.x)
        told = k @ self.root
        covariance = self._covariance(x, x) - told @ told.T
        covariance[np.diag_indices(len(x))] += _JITTER * float(self._variance(x).max(initial=1))
        lower = np.linalg.cholesky(covariance)
        return (k @ self.weights)[None, :] + rng.normal(size=(n, len(x))) @ lower.T

    @cached_property
    def left_out(self) -> Float64[np.ndarray, " n"]:
        """Estimate of each label from all others (eq. 5.12)."""
        return self.z - self.weights / np.square(self.root).sum(1)

    def _chunks(self, n: int) -> list[slice]:
        rows = max(_IN_CACHE // len(self.x), 16)
        return [slice(start, start + rows) for start in range(0, n, rows)]

    def _covariance(
        self, a: Float[np.ndarray, "p f"], b: Float[np.ndarray, "q f"]
    ) -> Float[np.ndarray, "p q"]:
        return matern.covariance(self.hyper, a, b, self.groups, self.linear)

    def _variance(self, x: Float[np.ndarray, "q f"]) -> Float[np.ndarray, " q"]:
        return self.hyper.signal + 1 + np.square(x) @ self.linear * self.hyper.slope


def condition(
    x: Float64[np.ndarray, "n f"],
    z: Float64[np.ndarray, " n"],
    groups: Int[np.ndarray, " f"],
    linear: Float64[np.ndarray, " f"],
    hyper: matern.Hyperparameters,
) -> Process:
    """The process given the labels `z` of rows `x`."""
    from scipy.linalg import cholesky, solve_triangular

    covariance = matern.covariance(hyper, x, x, groups, linear)
    lower = cholesky(covariance + hyper.noise * np.eye(len(z)), lower=True)
    root = solve_triangular(lower, np.eye(len(z)), lower=True).T
    return Process(x, groups, linear, hyper, z, root @ (root.T @ z), root)
