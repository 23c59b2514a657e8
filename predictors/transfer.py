"""Latency on a device of which only a few networks are measured.

Other devices' latencies say most: a linear Gaussian process on their smoothed latencies
(`smoothing`), with small terms for counts and choices of the architecture; on counts and choices
alone where there are no other devices. Latency or its logarithm, with or without the others, how
much of each and how much noise: every setting counts by its evidence on the measured networks.
Whole milliseconds are intervals. What is measured is chosen so that the least doubt is left.

Few-shot transfer to devices: HELP (Lee et al., NeurIPS 2021), MultiPredict (Akhauri and
Abdelfattah, AutoML 2023). The baseline is a ridge regression on the other devices' log latencies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors import gp_mixture, metrics
from predictors.base import Prediction
from predictors.calibration import scale_90
from predictors.gp_mixture import Evidence
from predictors.spread_choice import v_optimal
from predictors.transfer_settings import Description, Setting, settings, stacked, standardised
from search_spaces.errors import InputError

LEAST = 4
# Variance of the free constant, in squares of the median latency.
_CONSTANT = 100.0
# Settings that count for less than this are left out of estimates.
_LEAST_WEIGHT = 1e-3
# The choice of networks: features beside the sources, noise over the spread of latencies.
_COUNTED, _CHOSEN, _CHOSEN_ALONE, _NOISE = 0.1, 0.02, 0.3, 0.15
_CANDIDATES, _REFERENCE = 2000, 1000
# Labels are intervals where they are multiples of a power of ten above this share of their median.
_COARSE = 0.005
_PASSES = 2
# Beyond these, estimates are not to be trusted: Spearman's correlation of the measured networks,
# each left out of the fit; half-width of the interval over the estimate; errors over expected ones.
_LEAST_ORDER, _WIDEST, _MOST_FACTOR = 0.7, 0.5, 2.0
# So many errors as expected are added to those of the networks left out.
_USUAL = 10


@dataclass(frozen=True)
class Transfer:
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
    def _sources(self) -> tuple[np.ndarray, np.ndarray]:
        """Sources as features, of latency and of its logarithm."""
        return standardised(self.sources_ms), standardised(np.log(self.sources_ms))

    @cached_property
    def _counted(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(reading.counted(False), reading.counted(True)) for reading in self.readings]

    @cached_property
    def _chosen(self) -> list[np.ndarray]:
        return [standardised(reading.onehot) for reading in self.readings]

    def choose(
        self, count: int, candidates: Int[np.ndarray, " c"] | None = None, seed: int = 0
    ) -> Int[np.ndarray, " m"]:
        """Networks to measure.

        Args:
            count: how many.
            candidates: rows that may be measured; all if not given.
            seed: of the draw of candidates, where there are very many.
        """
        rng = np.random.default_rng(seed)
        rows = np.arange(len(self.sources_ms)) if candidates is None else candidates
        some = rng.choice(rows, min(_CANDIDATES, len(rows)), replace=False)
        parts = [self._sources[1], self._counted[0][1], self._chosen[0]]
        alone = not self.sources_ms.shape[1]
        factors = (0.0, 1.0, _CHOSEN_ALONE) if alone else (1.0, _COUNTED, _CHOSEN)
        pool = len(self.sources_ms)
        reference = rng.choice(pool, min(_REFERENCE, pool), replace=False)
        return v_optimal(stacked(parts, factors), some, reference, count, _NOISE**2)

    def fit(
        self, rows: Int[np.ndarray, " m"], latency_ms: Float[np.ndarray, " m"]
    ) -> "Transferred":
        """Learn from the measured networks.

        Args:
            rows: which networks they are.
            latency_ms: measured on the new device.

        Raises:
            InputError: too few measurements, or such that are no latencies.
        """
        latency_ms = np.asarray(latency_ms, np.float64)
        problems = []
        if len(rows) != len(latency_ms):
            problems.append(f"measurements: {len(latency_ms)} for {len(rows)} networks")
        if len(np.unique(rows)) < LEAST:
            problems.append(f"measurements: a transfer needs {LEAST} distinct networks or more")
        if not np.all(np.isfinite(latency_ms) & (latency_ms > 0)):
            problems.append("measurements: latencies must be positive and finite")
        if problems:
            raise InputError(problems)
        return _fit(self, rows, latency_ms)

    def parts(self, setting: Setting) -> list[tuple[np.ndarray, float, int]]:
        """What explains latency under a setting: features, their factor, the kernel's power."""
        counted = self._counted[setting.reading][setting.log]
        chosen = self._chosen[setting.reading]
        parts = [(counted, setting.counted, 1), (chosen, setting.chosen, 1)]
        parts += [(chosen, setting.pairs, 2)] if setting.pairs else []
        return parts + ([(self._sources[setting.log], 1.0, 1)] if setting.sources else [])

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


@dataclass(frozen=True)
class Transferred:
    """Latency on the new device, learned from the measured networks.

    Args:
        transfer: what was known before.
        rows: the measured networks.
        latency_ms: their latencies.
        settings: those that count.
        weight: how much each counts.
        evidence: of the settings, on the measured networks.
        grain_ms: what latencies are multiples of; 0 where they are exact.
        factor: on the spread, so that 90 % of networks lie in the 90 % interval.
        left_out: estimates of each measured network from the others.
    """

    transfer: Transfer
    rows: Int[np.ndarray, " m"]
    latency_ms: Float64[np.ndarray, " m"]
    settings: tuple[Setting, ...]
    weight: Float64[np.ndarray, " g"]
    evidence: Evidence
    grain_ms: float
    factor: float
    left_out: Prediction

    def predict(self, rows: Int[np.ndarray, " n"]) -> Prediction:
        """Latency in ms of networks of the pool, and its calibrated spread."""
        means, variances = [], []
        center = float(np.median(self.latency_ms))
        cross, prior = _Products(rows, self.rows), _Products(rows, rows, diagonal=True)
        for number, setting in enumerate(self.settings):
            parts = self.transfer.parts(setting)
            target = _target(self.latency_ms, center, setting.log)
            size = np.square(self.transfer.spread(setting, target))
            covariance = size * cross.kernel(parts) + _CONSTANT
            mean = covariance @ self.evidence.alpha[number]
            told = ((covariance @ self.evidence.inverse[number]) * covariance).sum(1)
            variance = np.maximum(size * prior.kernel(parts) + _CONSTANT - told, 0.0)
            noise = setting.noise * (1.0 if setting.log or setting.even else 1 + mean)
            both = _in_ms(mean, variance + np.square(noise), center, setting.log)
            means.append(both[0])
            variances.append(both[1] + self.grain_ms**2 / 12)
        mean, variance = gp_mixture.pooled(self.weight, np.array(means), np.array(variances))
        return Prediction(mean, self.factor * np.sqrt(variance))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why these estimates should not be trusted; empty where nothing speaks against them."""
        order = metrics.spearman(self.latency_ms, self.left_out.mean)
        width = metrics.Z_90 * float(np.median(self.left_out.std / self.left_out.mean))
        found = {
            f"measured networks that are left out come in another order (Spearman {order:.2f})": (
                order < _LEAST_ORDER
            ),
            f"the 90 % interval of an estimate is +-{width:.0%}": width > _WIDEST,
            f"errors are {self.factor:.1f} times what its own noise explains": (
                self.factor > _MOST_FACTOR
            ),
        }
        return tuple(text for text, true in found.items() if true)

    @property
    def shares(self) -> dict[str, float]:
        """Weight of the settings that use other devices, and of those on log latency."""
        sources = sum(w for w, s in zip(self.weight, self.settings, strict=True) if s.sources)
        log = sum(w for w, s in zip(self.weight, self.settings, strict=True) if s.log)
        return {"sources": float(sources), "log": float(log)}


def grain(latency_ms: Float64[np.ndarray, " m"]) -> float:
    """The power of ten, in ms, that all latencies are multiples of, if it is coarse; else 0."""
    least = _COARSE * float(np.median(latency_ms))
    for exponent in range(3, -6, -1):
        unit = 10.0**exponent
        counts = latency_ms / unit
        if unit > least and np.allclose(counts, np.round(counts), rtol=0, atol=1e-6):
            return unit
    return 0.0


class _Products:
    """Kernels of rows with rows, each product of features computed once."""

    def __init__(
        self, a: Int[np.ndarray, " p"], b: Int[np.ndarray, " q"], diagonal: bool = False
    ) -> None:
        self._a, self._b, self._diagonal = a, b, diagonal
        self._known: dict[int, np.ndarray] = {}

    def kernel(self, parts: Sequence[tuple[np.ndarray, float, int]]) -> np.ndarray:
        """The sum of all parts' kernels, each with the square of its factor."""
        return sum((f**2 * self._product(x) ** power for x, f, power in parts), np.zeros(()))

    def _product(self, x: np.ndarray) -> np.ndarray:
        if id(x) not in self._known:
            a = x[self._a]
            self._known[id(x)] = (a * a).sum(1) if self._diagonal else a @ x[self._b].T
        return self._known[id(x)]


@dataclass(frozen=True)
class _Problem:
    """Measurements of the new device, and kernels of all settings between them."""

    transfer: Transfer
    rows: Int[np.ndarray, " m"]
    latency_ms: Float64[np.ndarray, " m"]
    center: float
    grain_ms: float

    def solve(
        self,
        kept: Sequence[Setting],
        inflated: Float64[np.ndarray, " m"],
        censored: bool,
    ) -> tuple[Evidence, Float64[np.ndarray, " g"]]:
        """Evidence, and the weight of each setting.

        Args:
            kept: the settings.
            inflated: factor on each label's variance.
            censored: whether coarse labels are intervals; else rounding is more noise.
        """
        log = np.array([s.log for s in kept])
        products = _Products(self.rows, self.rows)
        both = [_target(self.latency_ms, self.center, kind) for kind in (False, True)]
        spreads = [self.transfer.spread(s, both[s.log]) for s in kept]
        kernels = np.array(
            [
                size**2 * products.kernel(self.transfer.parts(s)) + _CONSTANT
                for s, size in zip(kept, spreads, strict=True)
            ]
        )
        share = self.latency_ms / self.center
        even = log | np.array([s.even for s in kept])
        size = np.where(even[:, None], 1.0, share[None, :])
        noise = np.square(np.array([s.noise for s in kept])[:, None] * size) * inflated[None, :]
        if censored:
            half = self.grain_ms / 2
            lower = self._targets(np.maximum(self.latency_ms - half, 0.2 * half), log)
            upper = self._targets(self.latency_ms + half, log)
            evidence = gp_mixture.solve_censored(kernels, lower, upper, noise)
            return evidence, gp_mixture.weights(evidence.log_evidence)
        rounding = self.grain_ms / np.where(log[:, None], self.latency_ms[None, :], self.center)
        noise = noise + np.square(rounding) / 12
        evidence = gp_mixture.solve(kernels, self._targets(self.latency_ms, log), noise)
        # Densities of logarithms, as such of latencies.
        density = np.where(log, -np.log(share).sum(), 0.0)
        return evidence, gp_mixture.weights(evidence.log_evidence + density)

    def left_out(
        self,
        kept: Sequence[Setting],
        evidence: Evidence,
        weight: Float64[np.ndarray, " g"],
    ) -> Prediction:
        """Each measured network as the others estimate it, in ms, the spread not calibrated."""
        found = zip(evidence.left_out_mean, evidence.left_out_variance, kept, strict=True)
        both = [_in_ms(mean, variance, self.center, s.log) for mean, variance, s in found]
        means, variances = (np.array(part) for part in zip(*both, strict=True))
        mean, variance = gp_mixture.pooled(weight, means, variances)
        return Prediction(mean, np.sqrt(variance))

    def _targets(
        self, values_ms: Float64[np.ndarray, " m"], log: np.ndarray
    ) -> Float64[np.ndarray, "g m"]:
        both = np.array([_target(values_ms, self.center, kind) for kind in (False, True)])
        return both[log.astype(int)]


def _fit(
    transfer: Transfer, rows: Int[np.ndarray, " m"], latency_ms: Float64[np.ndarray, " m"]
) -> Transferred:
    center, unit = float(np.median(latency_ms)), grain(latency_ms)
    problem = _Problem(transfer, rows, latency_ms, center, unit)
    kept = settings(len(transfer.readings), transfer.sources_ms.shape[1] > 0)
    inflated, weight = np.ones(len(rows)), np.ones(len(kept))
    for _ in range(_PASSES):
        evidence, weight = problem.solve(kept, inflated, censored=False)
        left_out = problem.left_out(kept, evidence, weight)
        inflated = inflated * gp_mixture.outlying(latency_ms - left_out.mean, left_out.std)
    # Settings that hardly count are not worth the dearer treatment of intervals.
    kept = tuple(s for s, w in zip(kept, weight, strict=True) if w > _LEAST_WEIGHT)
    evidence, weight = problem.solve(kept, inflated, censored=unit > 0)
    left_out = problem.left_out(kept, evidence, weight)
    # A few errors say little about all others: their word counts as far as they are many.
    told = scale_90(latency_ms - left_out.mean, left_out.std)
    factor = float(max(told, 0.05) ** (len(rows) / (len(rows) + _USUAL)))
    left_out = Prediction(left_out.mean, factor * left_out.std)
    return Transferred(
        transfer, rows, latency_ms, tuple(kept), weight, evidence, unit, factor, left_out
    )


def _target(
    latency_ms: Float64[np.ndarray, " m"], center: float, log: bool
) -> Float64[np.ndarray, " m"]:
    return np.log(latency_ms / center) if log else latency_ms / center - 1


def _in_ms(
    mean: Float64[np.ndarray, " n"], variance: Float64[np.ndarray, " n"], center: float, log: bool
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    if not log:
        return center * (1 + mean), center**2 * variance
    median = center * np.exp(mean)
    return median, np.square(median) * variance
