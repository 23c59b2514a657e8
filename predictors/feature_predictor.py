"""What all predictors share: checked input, a report on held-out labels, storage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors import storage
from predictors.base import Extra, MacsOf, Prediction
from predictors.labels import as_float64, check_archs, check_labels, group, hold_out
from predictors.populations import in_parts
from predictors.report import Estimates, FitReport, HeldOut, judge
from predictors.ridge_regression import fit_ridge
from search_spaces.errors import InputError
from search_spaces.space import Archs, SearchSpace


class Model(Protocol):
    """A fitted function of features."""

    def predict(self, x: Float[np.ndarray, "n f"]) -> Prediction:
        """Estimates for rows of features."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild the model, by name."""
        ...


M = TypeVar("M", bound=Model)


class FeaturePredictor(Generic[M]):
    """A predictor whose model sees rows of features. A subclass adds `fit_model` and `read_model`.

    Args:
        space: where the architectures come from.
        seed: of the held-out choice and of everything random in the model.
        macs: MACs of architectures, for the baseline in the report.
        holdout: share of the labelled architectures that only the report's models don't see.
        extra: further features, for predictors that see more than choices.

    Raises:
        InputError: a share that is none, or features for a predictor that sees choices only.
    """

    type: str
    sees_extra = False
    # False where the model spreads many rows over the cores by itself.
    threaded = True

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        macs: MacsOf | None = None,
        holdout: float = 0.2,
        extra: Extra | None = None,
    ) -> None:
        if not 0 < holdout < 1:
            raise InputError(f"holdout: must lie between 0 and 1, got {holdout}")
        if extra is not None and not self.sees_extra:
            raise InputError(f"extra: predictor {self.type} sees choices only")
        self.space = space
        self.seed = seed
        self.macs = macs
        self.holdout = holdout
        self.extra = extra
        self._model: M | None = None

    def features(self, archs: Archs) -> Float[np.ndarray, "n f"]:
        """What the model sees: the masked one-hot."""
        return self.space.onehot(archs)

    def fit_model(
        self,
        x: Float[np.ndarray, "n f"],
        y: Float64[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
    ) -> M:
        """Learn from labelled features; rows of one group are the same network."""
        raise NotImplementedError

    def read_model(self, arrays: Mapping[str, np.ndarray]) -> M:
        """The model of stored arrays."""
        raise NotImplementedError

    def fit(self, archs: Archs, y: Float[np.ndarray, " m"]) -> FitReport:
        """Test on a held-out share, then learn from all labels.

        Args:
            archs: labelled architectures; the same one may come several times.
            y: their labels, finite.

        Returns:
            Scores of a model fitted without the held-out share, beside ridge and MACs.

        Raises:
            InputError: too few distinct architectures, or labels that are not finite.
        """
        check_archs(self.space.cardinality, archs)
        onehot = self.space.onehot(archs)
        groups = group(onehot)
        check_labels(groups, y)
        y, x = as_float64(y), self.features(archs)
        train, test = hold_out(groups, self.holdout, self.seed)
        found = self.fit_model(x[train], y[train], groups[train]).predict(x[test])
        estimates = {
            "model": (found.mean, found.std),
            "ridge": _baseline(onehot, y, train, test),
        }
        if self.macs is not None:
            estimates["macs"] = _baseline(log_macs(self.macs, archs), y, train, test)
        self._model = self.fit_model(x, y, groups)
        held_out = HeldOut(test, y[test], found.mean, found.std)
        return FitReport(len(train), held_out, judge(y[test], estimates, ("ridge", "macs")))

    def learn(self, archs: Archs, y: Float[np.ndarray, " m"]) -> None:
        """Learn from all labels, without the test that `fit` reports, in half the time.

        Raises:
            InputError: as `fit`.
        """
        check_archs(self.space.cardinality, archs)
        groups = group(self.space.onehot(archs))
        check_labels(groups, y)
        self._model = self.fit_model(self.features(archs), as_float64(y), groups)

    def predict(self, archs: Archs) -> Prediction:
        """Estimates for any number of architectures.

        Raises:
            InputError: architectures of another space.
            RuntimeError: neither `fit` nor `load` was called.
        """
        check_archs(self.space.cardinality, archs)
        model = self._fitted()
        if not self.threaded:
            return model.predict(self.features(archs))
        return in_parts(
            lambda part: model.predict(self.features(part)), self.space.cardinality, archs
        )

    def save(self, folder: Path) -> None:
        """Write the fitted predictor as JSON and npz.

        Raises:
            InputError: the folder can't be written.
        """
        storage.write(folder, self._description(), self._fitted().arrays())

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; predictions are equal bit for bit.

        Raises:
            InputError: files are missing, corrupt, or belong to another space or predictor.
        """
        found = storage.read_description(folder)
        for key, value in self._description().items():
            if found.get(key) != value:
                where = folder / storage.DESCRIPTION
                raise InputError(
                    f"{where}: {key} is {found.get(key)!r}, expected {value!r}; "
                    "load it with the space and type it was fitted for, or fit it again"
                )
        arrays = storage.read_arrays(folder, found)
        try:
            self._model = self.read_model(arrays)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{folder / storage.ARRAYS}: arrays are missing or unknown ({error}); "
                "fit the predictor again"
            ) from None

    def _description(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "space": self.space.name,
            "space_version": self.space.version,
            "cardinality": self.space.cardinality.tolist(),
        }

    def _fitted(self) -> M:
        if self._model is None:
            raise RuntimeError(f"predictor {self.type}: fit or load it first")
        return self._model


def log_macs(macs: MacsOf, archs: Archs) -> Float64[np.ndarray, "n 1"]:
    """Logarithm of the MACs as a feature column."""
    return np.log(np.asarray(macs(archs), np.float64))[:, None]


def _baseline(
    x: Float[np.ndarray, "n f"],
    y: Float64[np.ndarray, " n"],
    train: Int[np.ndarray, " a"],
    test: Int[np.ndarray, " b"],
) -> Estimates:
    found = fit_ridge(x[train], y[train]).predict(x[test])
    return found.mean, found.std
