"""Prior covariance between networks on a device that nobody has measured yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors.transfer_settings import OTHERS, Description, Setting, standardised
from search_spaces.errors import InputError


@dataclass(frozen=True)
class Prior:
    """What is known of a pool of networks before the new device is measured.

    Args:
        readings: descriptions of the networks, one or several ways to read them.
        sources_ms: smoothed latencies on other devices, a column each; none are allowed.
    """

    readings: Sequence[Description]
    sources_ms: Float[np.ndarray, "n s"]

    def __post_init__(self) -> None:
        """Check shapes and values."""
        rows = {len(self.sources_ms), *(len(reading.onehot) for reading in self.readings)}
        if len(rows) > 1:
            raise InputError(f"descriptions and sources are of {sorted(rows)} networks, not alike")
        if not np.all(np.isfinite(self.sources_ms) & (self.sources_ms > 0)):
            raise InputError("sources: latencies must be positive and finite for every network")

    @cached_property
    def sources(self) -> tuple[np.ndarray, np.ndarray]:
        """Sources as features, of latency and of its logarithm."""
        return standardised(self.sources_ms), standardised(np.log(self.sources_ms))

    @cached_property
    def counted(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each reading's tallies and statistics, for latency and for its logarithm."""
        return [(reading.counted(False), reading.counted(True)) for reading in self.readings]

    @cached_property
    def chosen(self) -> list[np.ndarray]:
        """Each reading's choices."""
        return [standardised(reading.onehot) for reading in self.readings]

    def parts(self, setting: Setting) -> list[tuple[np.ndarray, float, int]]:
        """What explains latency under a setting: features, their factor, the kernel's power."""
        counted = self.counted[setting.reading][setting.log]
        chosen = self.chosen[setting.reading]
        parts = [(counted, setting.counted, 1), (chosen, setting.chosen, 1)]
        parts += [(chosen, setting.pairs, 2)] if setting.pairs else []
        if not setting.sources:
            return parts
        if setting.like is None:
            return [*parts, (self.sources[setting.log], 1.0, 1)]
        one = self._each[setting.log][setting.like]
        return [*parts, (self.sources[setting.log], OTHERS, 1), (one, 1.0, 1)]

    @cached_property
    def _each(self) -> list[list[np.ndarray]]:
        """Sources one by one, of latency and of its logarithm."""
        return [[standardised(column[:, None]) for column in x.T] for x in self.sources]

    @cached_property
    def _usual_spread(self) -> tuple[float, float]:
        """Standard deviation over mean on the other devices, and that of log latency."""
        relative = self.sources_ms.std(0) / self.sources_ms.mean(0)
        return float(relative.mean()), float(np.log(self.sources_ms).std(0).mean())

    def spread(self, setting: Setting, target: Float64[np.ndarray, " m"]) -> float:
        """How much latencies are expected to differ: as on other devices, or as measured."""
        if setting.sources:
            return setting.scale * self._usual_spread[setting.log]
        return setting.scale * max(float(target.std()), 1e-6)


class Products:
    """Kernels of rows with rows, each kernel and each product of features computed once."""

    def __init__(
        self, a: Int[np.ndarray, " p"], b: Int[np.ndarray, " q"], diagonal: bool = False
    ) -> None:
        self._a, self._b, self._diagonal = a, b, diagonal
        self._known: dict[int, np.ndarray] = {}
        self._sums: dict[tuple[tuple[int, float, int], ...], np.ndarray] = {}

    def kernel(self, parts: Sequence[tuple[np.ndarray, float, int]]) -> np.ndarray:
        """The sum of all parts' kernels, each with the square of its factor."""
        key = tuple((id(x), f, power) for x, f, power in parts)
        if key not in self._sums:
            products = (f**2 * self._product(x) ** power for x, f, power in parts)
            self._sums[key] = sum(products, np.zeros(()))
        return self._sums[key]

    def _product(self, x: np.ndarray) -> np.ndarray:
        if id(x) not in self._known:
            a = x[self._a]
            self._known[id(x)] = (a * a).sum(1) if self._diagonal else a @ x[self._b].T
        return self._known[id(x)]
