"""A Gaussian process on the descriptors of graphs: the best of few labels where cells are searched.

Where that orders unseen labels better, labels are replaced by the normal scores of their ranks:
accuracies may have a long lower tail that would rule the fit otherwise. Estimates are brought back
to the labels' units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int
from threadpoolctl import threadpool_limits

from predictors import matern
from predictors.base import Extra, MacsOf, Prediction
from predictors.calibration import least_std, scale_90
from predictors.descriptors import descriptors_of
from predictors.feature_predictor import FeaturePredictor
from predictors.labels import folds
from predictors.metrics import kendall_tau
from predictors.warp import FitScale, Warp, linear_warp, rank_warp
from search_spaces.space import Archs, SearchSpace

_SAMPLE = 2_000
# Covariances at a time, so that they stay in the cache.
_IN_CACHE = 2**19
# Labels that the hyper-parameters are fitted to; all of them are used for estimates.
_MOST_FITTED = 300
_FOLDS = 8


@dataclass(frozen=True)
class ProcessModel:
    """A Gaussian process conditioned on labels.

    Args:
        x: features of the labelled rows.
        groups: number of each feature's group.
        linear: 1 for the features of the linear part, 0 for the others.
        hyper: of the covariance.
        weights: of the labelled rows in the mean.
        root: `root @ root.T` is the inverse covariance of the labels, upper triangular.
        warp: from scores to labels.
        scale: factor that makes the central 90 % interval hold 90 % of unseen labels.
        least: lower limit of the spread.
        unseen_kendall: Kendall's tau on folds of the labels that the process did not see.
    """

    x: Float64[np.ndarray, "n f"]
    groups: Int[np.ndarray, " f"]
    linear: Float64[np.ndarray, " f"]
    hyper: matern.Hyperparameters
    weights: Float64[np.ndarray, " n"]
    root: Float64[np.ndarray, "n n"]
    warp: Warp
    scale: float
    least: float
    unseen_kendall: float

    def predict(self, x: Float[np.ndarray, "q f"]) -> Prediction:
        """Estimates and spread for rows of features."""
        from scipy.linalg import get_blas_funcs

        mean, variance = np.empty(len(x)), np.empty(len(x))
        labelled, root = self.x.astype(np.float32), self.root.astype(np.float32)
        multiply: Any = get_blas_funcs("trmm", (root,))
        own = self.hyper.signal + 1 + np.square(x) @ self.linear * self.hyper.slope
        chunk = max(_IN_CACHE // len(labelled), 16)
        for start in range(0, len(x), chunk):
            part = slice(start, start + chunk)
            rows = x[part].astype(np.float32)
            k = matern.covariance(self.hyper, rows, labelled, self.groups, self.linear)
            mean[part] = k @ self.weights
            # Half the work of k @ root: what is below the diagonal is not multiplied.
            known = multiply(1.0, root.T, k.T, lower=True, overwrite_b=True)
            variance[part] = own[part] - np.einsum("ij,ij->j", known, known)
        std = np.sqrt(np.maximum(variance, 0) + self.hyper.noise)
        raw = self.warp.to_label_units(mean, std)
        return Prediction(raw.mean, np.maximum(self.scale * raw.std, self.least))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild the model."""
        hyper = {name: np.array(value) for name, value in vars(self.hyper).items()}
        own = {name: np.array(value) for name, value in vars(self).items() if name in _PLAIN}
        return {
            **own,
            **{f"hyper.{name}": value for name, value in hyper.items()},
            **{f"warp.{name}": value for name, value in vars(self.warp).items()},
        }


_PLAIN = ("x", "groups", "linear", "weights", "root", "scale", "least", "unseen_kendall")


class GaussianProcess(FeaturePredictor[ProcessModel]):
    """Gaussian process with a Matérn kernel on the descriptors, and a linear part.

    Args:
        space: where the architectures come from; it must draw its networks.
        seed: of the held-out choice, and of the labels that the hyper-parameters are fitted to.
        macs: MACs of architectures, for the baseline in the report.
        holdout: share of the labelled architectures that only the report's models don't see.
        extra: further features, a group of their own with a linear part.
    """

    type = "gaussian_process"

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        macs: MacsOf | None = None,
        holdout: float = 0.2,
        extra: Extra | None = None,
    ) -> None:
        super().__init__(space, seed, macs, holdout)
        self._scaling = scaling_of(space)
        self._extra = extra
        self._groups, self._linear = self._scaling.groups, self._scaling.linear
        if extra is not None:
            own = np.full(len(extra.names), self._groups.max() + 1)
            self._groups = np.concatenate([self._groups, own])
            self._linear = np.concatenate([self._linear, np.ones(len(own))])

    def features(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        """The descriptors, each group of them with unit variance over the space."""
        scaled = self._scaling(archs)
        if self._extra is None:
            return scaled
        more = self._extra(archs) / len(self._extra.names) ** 0.5
        return np.concatenate([scaled, more], axis=1)

    def fit_model(
        self,
        x: Float[np.ndarray, "n f"],
        y: Float64[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
    ) -> ProcessModel:
        """Fit on both scales of the labels, keep the one that orders unseen labels better.

        For each the hyper-parameters come from all labels; scale and spread are judged on folds
        that the process did not see.
        """
        x = np.asarray(x, np.float64)
        if np.all(y == y[0]):
            flat = Warp(np.array([-1.0, 1.0]), np.array([y[0], y[0]]))
            hyper = matern.Hyperparameters(1.0, 1.0, 1.0, np.ones(len(set(self._groups))))
            return self._condition(x, np.zeros(len(y)), hyper, flat, least_std(y))
        # Threads that wait for one another cost more than such small matrices take.
        with threadpool_limits(1, "blas"):
            return self._fit_best(x, y, folds(groups, _FOLDS, self.seed))

    def _fit_best(
        self,
        x: Float64[np.ndarray, "n f"],
        y: Float64[np.ndarray, " n"],
        fold: Int[np.ndarray, " n"],
    ) -> ProcessModel:
        chosen = np.random.default_rng(self.seed).permutation(len(y))[:_MOST_FITTED]
        best = None
        for fit_scale in (linear_warp, rank_warp):
            z = fit_scale(y)[1]
            hyper = matern.fit(x[chosen], z[chosen], self._groups, self._linear)
            unseen = self._unseen(x, y, fold, hyper, fit_scale)
            tau = kendall_tau(y, unseen.mean)
            if best is None or tau > best[0]:
                best = tau, hyper, fit_scale, scale_90(y - unseen.mean, unseen.std)
        tau, hyper, fit_scale, scale = best
        warp, z = fit_scale(y)
        model = self._condition(x, z, hyper, warp, least_std(y))
        return replace(model, scale=scale, unseen_kendall=tau)

    def _unseen(
        self,
        x: Float64[np.ndarray, "n f"],
        y: Float64[np.ndarray, " n"],
        fold: Int[np.ndarray, " n"],
        hyper: matern.Hyperparameters,
        fit_scale: FitScale,
    ) -> Prediction:
        """Estimates for each fold from the labels of the others."""
        mean, std = np.empty(len(y)), np.empty(len(y))
        for i in np.unique(fold):
            out = fold == i
            seen = y[~out]
            warp, z = fit_scale(seen)
            model = self._condition(x[~out], z, hyper, warp, least_std(y))
            found = model.predict(x[out])
            mean[out], std[out] = found.mean, found.std
        return Prediction(mean, std)

    def _condition(
        self,
        x: Float64[np.ndarray, "n f"],
        z: Float64[np.ndarray, " n"],
        hyper: matern.Hyperparameters,
        warp: Warp,
        least: float,
    ) -> ProcessModel:
        """The process given the scores of labelled rows, its spread not yet calibrated."""
        from scipy.linalg import cholesky, solve_triangular

        fixed = (self._groups, self._linear)
        covariance = matern.covariance(hyper, x, x, *fixed)
        lower = cholesky(covariance + hyper.noise * np.eye(len(z)), lower=True)
        root = solve_triangular(lower, np.eye(len(z)), lower=True).T
        weights = root @ (root.T @ z)
        return ProcessModel(x, *fixed, hyper, weights, root, warp, 1.0, least, 0.0)

    def read_model(self, arrays: Mapping[str, np.ndarray]) -> ProcessModel:
        """The model of stored arrays."""
        parts: dict[str, dict[str, Any]] = {"": {}, "hyper": {}, "warp": {}}
        for name, value in arrays.items():
            part, _, rest = name.rpartition(".")
            parts[part][rest] = value
        numbers = {k: parts["hyper"].pop(k).item() for k in ("signal", "slope", "noise")}
        plain: dict[str, Any] = {k: v if v.ndim else v.item() for k, v in parts[""].items()}
        return ProcessModel(
            hyper=matern.Hyperparameters(**numbers, **parts["hyper"]),
            warp=Warp(**parts["warp"]),
            **plain,
        )


class Scaling:
    """Descriptors on the scale of the kernel, by their spread over the space.

    Columns in units of their own are standardised; sequences and choices keep their common unit.
    Where there are cells they tell all, and choices would only blur that equal cells are equal.

    Args:
        space: where the architectures come from.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._descriptors = descriptors_of(space)
        names = self._descriptors.groups
        wholes = ("cells", "sequences") if "cells" in names else ("stages", "choices")
        wholes = tuple(whole for whole in wholes if whole in names)
        merged = np.array(["cells" if "cells" in wholes and n == "stages" else n for n in names])
        self._columns = np.flatnonzero(np.isin(merged, wholes))
        self.groups = np.array([wholes.index(name) for name in merged[self._columns]])
        self.linear = (self.groups == 0).astype(np.float64)
        sample = self._raw(space.sample(np.random.default_rng(0), _SAMPLE))
        spread = np.where(np.isin(merged[self._columns], ("cells", "stages")), sample.std(0), 1.0)
        self._center, self._spread = sample.mean(0), spread
        scaled = self(space.sample(np.random.default_rng(0), _SAMPLE))
        total = np.array([scaled[:, self.groups == g].var(0).sum() for g in range(len(wholes))])
        self._spread = spread * np.sqrt(total)[self.groups]

    def _raw(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        return self._descriptors(archs)[:, self._columns]

    def __call__(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        return (self._raw(archs) - self._center[None, :]) / self._spread[None, :]


@lru_cache(maxsize=8)
def scaling_of(space: SearchSpace) -> Scaling:
    """The scaling of a space, worked out once."""
    return Scaling(space)
