"""What a predictor is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Num

from predictors.report import FitReport
from search_spaces.space import Archs, SearchSpace

MacsOf = Callable[[Archs], Num[np.ndarray, " n"]]


class Extra(Protocol):
    """Features beyond what architectures are made of, with about unit variance each.

    Args:
        names: of the columns.
    """

    names: tuple[str, ...]

    def __call__(self, archs: Archs) -> Float64[np.ndarray, "n e"]:
        """A row an architecture."""
        ...


@dataclass(frozen=True)
class Prediction:
    """Estimates of a metric, in the units of the labels.

    Args:
        mean: the estimates.
        std: their calibrated spread, positive: `mean +- 1.645 std` holds about 90 % of the labels.
    """

    mean: Float[np.ndarray, " n"]
    std: Float[np.ndarray, " n"]


@runtime_checkable
class Predictor(Protocol):
    """Learns a metric of architectures from a few hundred labelled ones.

    Args:
        space: where the architectures come from.
    """

    space: SearchSpace

    def fit(self, archs: Archs, y: Float[np.ndarray, " n"]) -> FitReport:
        """Test on a held-out share, then learn from all labels.

        Raises:
            InputError: too few distinct architectures, or labels that are not finite.
        """
        ...

    def learn(self, archs: Archs, y: Float[np.ndarray, " n"]) -> None:
        """Learn from all labels, without a report.

        Raises:
            InputError: as `fit`.
        """
        ...

    def predict(self, archs: Archs) -> Prediction:
        """Estimates for any number of architectures."""
        ...

    def save(self, folder: Path) -> None:
        """Write the fitted predictor as JSON and npz."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; predictions are equal bit for bit.

        Raises:
            InputError: files are missing, corrupt, or belong to another space or predictor.
        """
        ...
