"""Descriptors as the kernel of Gaussian processes wants them."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from predictors.descriptors import descriptors_of
from search_spaces.space import Archs, SearchSpace

_SAMPLE = 2_000


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
        scaled = (sample - self._center[None, :]) / spread[None, :]
        total = np.array([scaled[:, self.groups == g].var(0).sum() for g in range(len(wholes))])
        self._spread = spread * np.sqrt(total)[self.groups]

    def _raw(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        return self._descriptors(archs)[:, self._columns]

    def __call__(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        """A row an architecture, each group of columns with unit variance over the space."""
        return (self._raw(archs) - self._center[None, :]) / self._spread[None, :]


@lru_cache(maxsize=8)
def scaling_of(space: SearchSpace) -> Scaling:
    """The scaling of a space, worked out once."""
    return Scaling(space)
