"""Latency on a device of which only a few networks are measured.

Other devices' latencies say most: a linear Gaussian process on their smoothed latencies (`smoothing`),
with small terms for counts and choices of the architecture; from counts and choices alone where
there are no other devices. Latency or its logarithm, with or without the others, how much of each
and how much noise: every setting counts by its evidence on the measured networks. Whole-millisecond
readings are intervals. What is measured is chosen beforehand, so that the least doubt is left.

Few-shot transfer to devices: HELP (Lee et al., NeurIPS 2021), MultiPredict (Akhauri and Abdelfattah,
AutoML 2023); a ridge regression on the other devices' log latencies is the baseline of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64, Int

from predictors import gp_mixture
from predictors.base import Prediction
from predictors.calibration import scale_90
from predictors.gp_mixture import Evidence
from predictors.spread_choice import v_optimal
from predictors.transfer_settings import Description, Setting, settings, standardised, stacked
from search_spaces.errors import InputError

LEAST = 4
# Variance of the free constant, in squares of the median latency.
_CONSTANT = 100.0
# Settings that count for less than this are left out of estimates.
_LEAST_WEIGHT = 1e-3
# The choice of networks: features beside the sources, noise over the spread of latencies.
_COUNTED, _CHOSEN, _CHOSEN_ALONE, _NOISE = 0.1, 0.02, 0.3, 0.3
_CANDIDATES, _REFERENCE = 2000, 1000
# Labels are intervals where they are multiples of a power of ten above this share of their median.
_COARSE = 0.005
_PASSES = 2


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

    def kernel(
        self, setting: Setting, spread: float, a: Int[np.ndarray, " p"], b: Int[np.ndarray, " q"]
    ) -> Float64[np.ndarray, "p q"]:
        """Prior covariance of networks `a` and `b`, without the free constant."""
        counted = self._counted[setting.reading][setting.log]
        chosen = self._chosen[setting.reading]
        choices = chosen[a] @ chosen[b].T
        total = setting.counted**2 * (counted[a] @ counted[b].T) + setting.chosen**2 * choices
        if setting.pairs:
            total += setting.pairs**2 * np.square(choices)
        if setting.sources:
            sources = self._sources[setting.log]
            total += sources[a] @ sources[b].T
        return (setting.scale * spread) ** 2 * total

    def spread(self, setting: Setting, target: Float64[np.ndarray, " m"]) -> float:
        """How much latencies are expected to differ: as on other devices, or as measured."""
        if not setting.sources:
            return max(float(target.std()), 1e-6)
        values = np.log(self.sources_ms) if setting.log else self.sources_ms
        relative = values.std(0) / (1.0 if setting.log else values.mean(0))
        return float(relative.mean())


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
        noise: variance of each label under each setting.
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
        for number, setting in enumerate(self.settings):
            target = _target(self.latency_ms, center, setting.log)
            spread = self.transfer.spread(setting, target)
            cross = self.transfer.kernel(setting, spread, rows, self.rows) + _CONSTANT
            mean = cross @ self.evidence.alpha[number]
            prior = self._prior(setting, spread, rows)
            told = ((cross @ self.evidence.inverse[number]) * cross).sum(1)
            variance = np.maximum(prior - told, 0.0)
            noise = setting.noise if setting.log else setting.noise * (1 + mean)
            both = _in_ms(mean, variance + np.square(noise), center, setting.log)
            means.append(both[0])
            variances.append(both[1] + self.grain_ms**2 / 12)
        mean, variance = gp_mixture.pooled(self.weight, np.array(means), np.array(variances))
        return Prediction(mean, self.factor * np.sqrt(variance))

    def _prior(
        self, setting: Setting, spread: float, rows: Int[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        t = self.transfer
        counted = t._counted[setting.reading][setting.log][rows]
        choices = np.square(t._chosen[setting.reading][rows]).sum(1)
        total = setting.counted**2 * np.square(counted).sum(1) + setting.chosen**2 * choices
        total += setting.pairs**2 * np.square(choices)
        if setting.sources:
            total += np.square(t._sources[setting.log][rows]).sum(1)
        return (setting.scale * spread) ** 2 * total + _CONSTANT

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


def _fit(
    transfer: Transfer, rows: Int[np.ndarray, " m"], latency_ms: Float64[np.ndarray, " m"]
) -> Transferred:
    center, unit = float(np.median(latency_ms)), grain(latency_ms)
    kept = settings(len(transfer.readings), transfer.sources_ms.shape[1] > 0)
    inflated = np.ones(len(rows))
    for last in (False,) * _PASSES + (True,):
        # What hardly counts is not worth the dearer treatment of intervals.
        problem = _Problem(transfer, rows, latency_ms, center, kept, inflated, unit if last else 0)
        evidence = problem.solve()
        weight = gp_mixture.weights(evidence.log_evidence + problem.log_density)
        far = weight > _LEAST_WEIGHT * (1.0 if last else 0.01)
        kept = tuple(s for s, far_ in zip(kept, far, strict=True) if far_)
        weight = weight[far] / weight[far].sum()
        evidence = Evidence(*(getattr(evidence, f)[far] for f in Evidence.__dataclass_fields__))
        both = [
            _in_ms(mean, variance, center, setting.log)
            for mean, variance, setting in zip(
                evidence.left_out_mean, evidence.left_out_variance, kept, strict=True
            )
        ]
        mean, variance = gp_mixture.pooled(
            weight, np.array([b[0] for b in both]), np.array([b[1] for b in both])
        )
        if not last:
            inflated = inflated * gp_mixture.outlying(latency_ms - mean, np.sqrt(variance))
    std = np.sqrt(variance + 0.0)
    factor = _calibrated(latency_ms - mean, std)
    left_out = Prediction(mean, factor * std)
    return Transferred(transfer, rows, latency_ms, kept, weight, evidence, unit, factor, left_out)


def _calibrated(error: Float64[np.ndarray, " m"], std: Float64[np.ndarray, " m"]) -> float:
    return scale_90(error, std)


@dataclass(frozen=True)
class _Problem:
    """Labels and kernels of all settings, stacked."""

    transfer: Transfer
    rows: Int[np.ndarray, " m"]
    latency_ms: Float64[np.ndarray, " m"]
    center: float
    kept: tuple[Setting, ...]
    inflated: Float64[np.ndarray, " m"]
    unit: float

    def solve(self) -> Evidence:
        kernels = np.array([self._kernel(s) for s in self.kept]) + _CONSTANT
        noise = np.array([self._noise(s) for s in self.kept])
        if not self.unit:
            return gp_mixture.solve(kernels, self._targets(self.latency_ms), noise)
        lower = np.maximum(self.latency_ms - self.unit / 2, 0.1 * self.unit)
        ends = (self._targets(lower), self._targets(self.latency_ms + self.unit / 2))
        return gp_mixture.solve_censored(kernels, *ends, noise)

    @property
    def log_density(self) -> Float64[np.ndarray, " g"]:
        """What turns densities of logarithms into such of latencies; intervals need nothing."""
        log = np.array([s.log for s in self.kept])
        if self.unit:
            return np.zeros(len(log))
        return np.where(log, -np.log(self.latency_ms / self.center).sum(), 0.0)

    def _targets(self, values: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, "g m"]:
        both = [_target(values, self.center, log) for log in (False, True)]
        return np.array([both[s.log] for s in self.kept])

    def _kernel(self, setting: Setting) -> Float64[np.ndarray, "m m"]:
        target = _target(self.latency_ms, self.center, setting.log)
        spread = self.transfer.spread(setting, target)
        return self.transfer.kernel(setting, spread, self.rows, self.rows)

    def _noise(self, setting: Setting) -> Float64[np.ndarray, " m"]:
        size = np.ones(len(self.rows)) if setting.log else self.latency_ms / self.center
        return np.square(setting.noise * size) * self.inflated


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
