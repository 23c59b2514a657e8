"""A Gaussian process on the descriptors of graphs: the best of few labels where cells are searched.

Where that orders unseen labels better, labels are replaced by the normal scores of their ranks:
accuracies may have a long lower tail that would rule the fit otherwise. Estimates are brought back
to the labels' units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int
from threadpoolctl import threadpool_limits

from predictors import matern
from predictors.base import Prediction
from predictors.calibration import least_std, scale_90
from predictors.feature_predictor import FeaturePredictor
from predictors.labels import folds
from predictors.metrics import kendall_tau
from predictors.process import Process, condition
from predictors.scaling import Scaling, scaling_of
from predictors.warp import FitScale, Warp, linear_warp, rank_warp
from search_spaces.space import Archs

# Labels that the hyper-parameters are fitted to; all of them are used for estimates.
_MOST_FITTED = 300
_FOLDS = 8


@dataclass(frozen=True)
class ProcessModel:
    """A Gaussian process of the scores of labels, and the way back to the labels.

    Args:
        process: given the scores.
        warp: from scores to labels.
        least: lower limit of the spread.
        scale: factor that makes the central 90 % interval hold 90 % of unseen labels.
        unseen_kendall: Kendall's tau on folds of the labels that the process did not see.
    """

    process: Process
    warp: Warp
    least: float
    scale: float = 1.0
    unseen_kendall: float = 0.0

    def predict(self, x: Float[np.ndarray, "q f"]) -> Prediction:
        """Estimates and spread for rows of features."""
        mean, variance = self.process.marginals(x.astype(np.float32))
        raw = self.warp.to_label_units(mean, np.sqrt(variance + self.process.hyper.noise))
        return Prediction(raw.mean, np.maximum(self.scale * raw.std, self.least))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild the model."""
        out = {name: np.array(getattr(self, name)) for name in ("least", "scale", "unseen_kendall")}
        parts = {"process": self.process, "hyper": self.process.hyper, "warp": self.warp}
        for part, holder in parts.items():
            values = {field.name: getattr(holder, field.name) for field in fields(holder)}
            values.pop("hyper", None)
            out |= {f"{part}.{name}": np.array(value) for name, value in values.items()}
        return out


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
    sees_extra = True

    @property
    def _scaling(self) -> Scaling:
        return scaling_of(self.space)

    @property
    def _more(self) -> int:
        """How many features there are beyond the descriptors."""
        return 0 if self.extra is None else len(self.extra.names)

    @property
    def _groups(self) -> Int[np.ndarray, " f"]:
        own = self._scaling.groups
        return np.concatenate([own, np.full(self._more, own.max() + 1)])

    @property
    def _linear(self) -> Float64[np.ndarray, " f"]:
        return np.concatenate([self._scaling.linear, np.ones(self._more)])

    def features(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        """The descriptors, each group of them with unit variance over the space."""
        scaled = self._scaling(archs)
        if self.extra is None:
            return scaled
        more = self.extra(archs) / len(self.extra.names) ** 0.5
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
            return ProcessModel(self._condition(x, np.zeros(len(y)), hyper), flat, least_std(y))
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
        return ProcessModel(self._condition(x, z, hyper), warp, least_std(y), scale, tau)

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
            model = ProcessModel(self._condition(x[~out], z, hyper), warp, least_std(y))
            found = model.predict(x[out])
            mean[out], std[out] = found.mean, found.std
        return Prediction(mean, std)

    def _condition(
        self,
        x: Float64[np.ndarray, "n f"],
        z: Float64[np.ndarray, " n"],
        hyper: matern.Hyperparameters,
    ) -> Process:
        return condition(x, z, self._groups, self._linear, hyper)

    def read_model(self, arrays: Mapping[str, np.ndarray]) -> ProcessModel:
        """The model of stored arrays."""
        parts: dict[str, dict[str, Any]] = {"": {}, "process": {}, "hyper": {}, "warp": {}}
        for name, value in arrays.items():
            part, _, rest = name.rpartition(".")
            parts[part][rest] = value if value.ndim else value.item()
        hyper = matern.Hyperparameters(**parts["hyper"])
        process = Process(hyper=hyper, **parts["process"])
        return ProcessModel(process, Warp(**parts["warp"]), **parts[""])
