"""What a new device's latency may look like, before anything of it is measured.

A setting is a prior: latency itself or its logarithm, what explains it (other devices' latencies,
all of them or one above all, counts, choices), how much each of these may add, and how noisy a
measurement is. Which of them hold is left to the measurements (`gp_mixture`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float, Float64

_SCALES = (0.7, 1.4)
_NOISE = (0.015, 0.03, 0.06, 0.12, 0.24)
# Beside sources: standard deviations of what counts and what single choices add, over theirs.
_COUNTED_BESIDE, _CHOSEN_BESIDE = (0.05, 0.15, 0.5), (0.02, 0.1)
# With the new device like one of the sources: what others and choices add, over what that one says.
OTHERS, _COUNTED_LIKE, _CHOSEN_LIKE = 0.3, 0.15, 0.02
# Without sources: of what single choices and pairs of them add, over that of counts.
_CHOSEN_ALONE, _PAIRS_ALONE, _CHOSEN_BY_ITSELF = (0.1, 0.3, 1.0), (0.0, 0.3), (0.3,)


@dataclass(frozen=True)
class Description:
    """Architectures as numbers, in one reading of them: as drawn, or as they are executed.

    Args:
        onehot: a column an option of each choice.
        tallies: how often each option occurs in an architecture, over choices that are alike.
        statistics: what is proportional to work or size (MACs, parameters); positive.
    """

    onehot: Float[np.ndarray, "n f"]
    tallies: Float[np.ndarray, "n t"]
    statistics: Float[np.ndarray, "n s"]

    def counted(self, log: bool) -> Float64[np.ndarray, "n c"]:
        """Tallies and statistics, standardised, with a mean square of 1 over all columns."""
        statistics = np.log(self.statistics) if log else self.statistics
        return standardised(np.hstack([self.tallies, statistics]))


@dataclass(frozen=True)
class Setting:
    """A prior.

    Args:
        log: on the logarithm of latency; else on latency itself.
        even: noise is the same for all networks; else in proportion to their latency.
        reading: index of the description.
        scale: standard deviation of networks' latencies over what is expected of it.
        sources: whether other devices explain latency.
        like: number of the source that explains most of it; none if all are as likely.
        counted: standard deviation of what tallies and statistics add, over `scale`.
        chosen: the same of single choices.
        pairs: the same of pairs of choices.
        noise: standard deviation of a measurement over its value, or over the median if even.
    """

    log: bool
    even: bool
    reading: int
    scale: float
    sources: bool = False
    like: int | None = None
    counted: float = 1.0
    chosen: float = 0.0
    pairs: float = 0.0
    noise: float = _NOISE[0]


def settings(readings: int, sources: int) -> tuple[Setting, ...]:
    """All settings that are weighed.

    Args:
        readings: number of descriptions of each architecture.
        sources: number of other devices.
    """
    kinds = ((False, False), (False, True), (True, False))
    frame = [
        Setting(log, even, reading, scale)
        for (log, even), reading, scale in product(kinds, range(readings), _SCALES)
    ]
    # Beside sources, architectures alone are the way out where no source is like the device.
    rest = product(_CHOSEN_BY_ITSELF, (0.0,)) if sources else product(_CHOSEN_ALONE, _PAIRS_ALONE)
    alone = [
        replace(start, chosen=chosen, pairs=pairs, noise=noise)
        for start, (chosen, pairs), noise in product(frame, rest, _NOISE)
    ]
    beside = [
        replace(start, sources=True, counted=counted, chosen=chosen, noise=noise)
        for start, counted, chosen, noise in product(frame, _COUNTED_BESIDE, _CHOSEN_BESIDE, _NOISE)
    ]
    one = [
        replace(setting, like=source)
        for setting, source in product(beside, range(sources))
        if (setting.counted, setting.chosen) == (_COUNTED_LIKE, _CHOSEN_LIKE)
    ]
    return tuple(alone + beside + one if sources else alone)


def standardised(x: Float[np.ndarray, "n c"]) -> Float64[np.ndarray, "n kept"]:
    """Columns of mean 0, scaled alike, no constant ones: rows have a mean squared length of 1."""
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)[None, :]
    spread = centred.std(0)
    kept = centred[:, spread > 0] / spread[None, spread > 0]
    return kept / np.sqrt(max(kept.shape[1], 1))


def stacked(parts: Sequence[Float[np.ndarray, "n _"]], factors: Sequence[float]) -> np.ndarray:
    """Features side by side, each kind with its factor."""
    return np.hstack([factor * part for part, factor in zip(parts, factors, strict=True)])
