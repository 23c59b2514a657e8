"""What a few measurements of a new device say of all other networks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.special import stdtrit

from hw_profiles.intervals import Z_90
from predictors import gp_mixture, metrics
from predictors.base import Prediction
from predictors.calibration import scale_90
from predictors.gp_mixture import Evidence
from predictors.transfer_prior import Prior, Products
from predictors.transfer_settings import Setting, settings

# Variance of the free constant, in squares of the median latency.
_CONSTANT = 100.0
# So many networks are estimated at a time, so that a setting's arrays stay in the cache.
_TOGETHER = 1024
# Settings that count for less than this are left out of estimates.
_LEAST_WEIGHT = 1e-3
# Labels are intervals where they are multiples of a power of ten above this share of their median.
_COARSE = 0.005
# So many of the labels may be wild at most.
_MOST_WILD = 0.25
# So many more wild labels are tried after the last that explained something.
_PATIENCE = 1
# Beyond these, estimates are not to be trusted: Spearman's correlation of the measured networks,
# each left out of the fit; half-width of the interval over the estimate; errors over expected ones.
_LEAST_ORDER, _WIDEST, _MOST_FACTOR = 0.7, 0.5, 2.0
# So many errors as expected are added to those of the networks left out.
_USUAL = 10


@dataclass(frozen=True)
class Transferred:
    """Latency on the new device, learned from the measured networks.

    Args:
        prior: what was known before.
        rows: the measured networks.
        latency_ms: their latencies.
        settings: those that count.
        weight: how much each counts.
        evidence: of the settings, on the measured networks.
        grain_ms: what latencies are multiples of; 0 where they are exact.
        factor: on the spread, so that 90 % of networks lie in the 90 % interval.
        left_out: estimates of each measured network from the others.
    """

    prior: Prior
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
        starts = range(_TOGETHER, len(rows), _TOGETHER)
        parts = [self._predict(some) for some in np.split(rows, list(starts))]
        return Prediction(*(np.concatenate(both) for both in zip(*parts, strict=True)))

    def _predict(self, rows: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        means, variances = [], []
        center = float(np.median(self.latency_ms))
        cross, own = Products(rows, self.rows), Products(rows, rows, diagonal=True)
        for number, setting in enumerate(self.settings):
            parts = self.prior.parts(setting)
            target = _target(self.latency_ms, center, setting.log)
            size = np.square(self.prior.spread(setting, target))
            covariance = size * cross.kernel(parts) + _CONSTANT
            mean = covariance @ self.evidence.alpha[number]
            told = ((covariance @ self.evidence.inverse[number]) * covariance).sum(1)
            variance = np.maximum(size * own.kernel(parts) + _CONSTANT - told, 0.0)
            noise = setting.noise * (1.0 if setting.log or setting.even else 1 + mean)
            both = _in_ms(mean, variance + np.square(noise), center, setting.log)
            means.append(both[0])
            variances.append(both[1] + self.grain_ms**2 / 12)
        mean, variance = gp_mixture.pooled(
            self.weight[:, None], np.array(means), np.array(variances)
        )
        return mean, self.factor * np.sqrt(variance)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why these estimates should not be trusted; empty where nothing speaks against them."""
        order = metrics.spearman(self.latency_ms, self.left_out.mean)
        width = Z_90 * float(np.median(self.left_out.std / self.left_out.mean))
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
        whole = np.maximum(np.round(counts), 1)
        if unit > least and np.allclose(counts, whole, rtol=0, atol=1e-6):
            return unit
    return 0.0


@dataclass(frozen=True)
class _Problem:
    """Measurements of the new device, and kernels of all settings between them."""

    prior: Prior
    rows: Int[np.ndarray, " m"]
    latency_ms: Float64[np.ndarray, " m"]
    center: float
    grain_ms: float

    def tamed(
        self, kept: Sequence[Setting]
    ) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " g"]]:
        """Factor on each label's noise variance, above 1 for wild ones; weight of each setting."""
        log = _logs(kept)
        kernels, noise, rounding = self._kernels(kept), self._noise(kept), self._rounding(log)
        labels = self._targets(self.latency_ms, log)
        inflated = np.ones(len(self.rows))
        best, plain, found = -np.inf, np.inf, (inflated, np.ones(len(kept)))
        # One wild label hides behind another: what explains nothing may lead to what does.
        patience = _PATIENCE
        for count in range(int(_MOST_WILD * len(inflated)) + 1):
            evidence = gp_mixture.solve(kernels, labels, noise * inflated[None, :] + rounding)
            log_evidence = evidence.log_evidence + self._density(log)
            weight = gp_mixture.weights(log_evidence)
            missed = self._in_ms(kept, evidence, weight[:, None]).mean - self.latency_ms
            error = float(np.abs(missed).mean())
            # What is called wild must not make the labels, wild ones too, worse foretold.
            plain = error if count == 0 else plain
            total = gp_mixture.with_wild(log_evidence, count)
            if total > best and error <= plain:
                best, found = total, (inflated, weight)
                patience = _PATIENCE
            elif patience == 0:
                break
            else:
                patience -= 1
            gain = gp_mixture.gain_if_wild(evidence, log_evidence, labels, noise)
            gain[inflated > 1] = -np.inf
            inflated = inflated.copy()
            inflated[np.argmax(gain)] = gp_mixture.WILD**2
        return found

    def solve(
        self, kept: Sequence[Setting], inflated: Float64[np.ndarray, " m"]
    ) -> tuple[Evidence, Float64[np.ndarray, " g"]]:
        """Evidence, and the weight of each setting; coarse labels are intervals.

        Args:
            kept: the settings.
            inflated: factor on each label's noise variance.
        """
        log = _logs(kept)
        kernels, noise = self._kernels(kept), self._noise(kept) * inflated[None, :]
        if self.grain_ms > 0:
            half = self.grain_ms / 2
            lower = self._targets(np.maximum(self.latency_ms - half, 0.2 * half), log)
            upper = self._targets(self.latency_ms + half, log)
            evidence = gp_mixture.solve_censored(kernels, lower, upper, noise)
            return evidence, gp_mixture.weights(evidence.log_evidence)
        evidence = gp_mixture.solve(kernels, self._targets(self.latency_ms, log), noise)
        return evidence, gp_mixture.weights(evidence.log_evidence + self._density(log))

    def _density(self, log: Bool[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
        """What makes densities of logarithms such of latencies."""
        return np.where(log, -np.log(self.latency_ms / self.center).sum(), 0.0)

    def _kernels(self, kept: Sequence[Setting]) -> Float64[np.ndarray, "g m m"]:
        products = Products(self.rows, self.rows)
        both = [_target(self.latency_ms, self.center, kind) for kind in (False, True)]
        spreads = [self.prior.spread(s, both[s.log]) for s in kept]
        return np.array(
            [
                size**2 * products.kernel(self.prior.parts(s)) + _CONSTANT
                for s, size in zip(kept, spreads, strict=True)
            ]
        )

    def _noise(self, kept: Sequence[Setting]) -> Float64[np.ndarray, "g m"]:
        """Variances of labels."""
        even = _logs(kept) | np.array([s.even for s in kept])
        size = np.where(even[:, None], 1.0, (self.latency_ms / self.center)[None, :])
        return np.square(np.array([s.noise for s in kept])[:, None] * size)

    def _rounding(self, log: Bool[np.ndarray, " g"]) -> Float64[np.ndarray, "g m"]:
        """Variances of labels for being multiples of the grain, where they are no intervals."""
        unit = np.where(log[:, None], self.latency_ms[None, :], self.center)
        return np.square(self.grain_ms / unit) / 12

    def left_out(
        self,
        kept: Sequence[Setting],
        evidence: Evidence,
        weight: Float64[np.ndarray, " g"],
    ) -> Prediction:
        """Each measured network as the others estimate it, in ms, the spread not calibrated.

        The others decide how much each setting counts, too.
        """
        log = _logs(kept)
        to_latency = np.where(log[:, None], -np.log(self.latency_ms / self.center)[None, :], 0.0)
        labels = self._targets(self.latency_ms, log)
        each = gp_mixture.left_out_weights(weight, labels, to_latency, evidence)
        return self._in_ms(kept, evidence, each)

    def _in_ms(
        self,
        kept: Sequence[Setting],
        evidence: Evidence,
        weight: Float64[np.ndarray, "g _"],
    ) -> Prediction:
        """What each label's others say of it, settings weighed for all labels or for each."""
        found = zip(evidence.left_out_mean, evidence.left_out_variance, kept, strict=True)
        both = [_in_ms(mean, variance, self.center, s.log) for mean, variance, s in found]
        means, variances = (np.array(part) for part in zip(*both, strict=True))
        mean, variance = gp_mixture.pooled(weight, means, variances)
        return Prediction(mean, np.sqrt(variance))

    def _targets(
        self, values_ms: Float64[np.ndarray, " m"], log: Bool[np.ndarray, " g"]
    ) -> Float64[np.ndarray, "g m"]:
        both = np.array([_target(values_ms, self.center, kind) for kind in (False, True)])
        return both[log.astype(int)]


def fit(
    prior: Prior, rows: Int[np.ndarray, " m"], latency_ms: Float64[np.ndarray, " m"]
) -> Transferred:
    """Weigh all settings by the measured networks, and calibrate.

    Args:
        prior: what was known before.
        rows: the measured networks.
        latency_ms: their latencies, checked.
    """
    center, unit = float(np.median(latency_ms)), grain(latency_ms)
    problem = _Problem(prior, rows, latency_ms, center, unit)
    kept = settings(len(prior.readings), prior.sources[0].shape[1])
    inflated, weight = problem.tamed(kept)
    # Settings that hardly count are not worth the dearer treatment of intervals.
    kept = tuple(s for s, w in zip(kept, weight, strict=True) if w > _LEAST_WEIGHT)
    evidence, weight = problem.solve(kept, inflated)
    left_out = problem.left_out(kept, evidence, weight)
    # A few errors say little about all others: their word counts as far as they are many.
    told = scale_90(latency_ms - left_out.mean, left_out.std)
    factor = float(max(told, 0.05) ** (len(rows) / (len(rows) + _USUAL)))
    # A spread that few errors tell is itself uncertain: Student's interval is the wider one.
    factor *= float(stdtrit(len(rows), 0.95)) / Z_90
    # Networks that nobody measured are wild as often.
    factor *= gp_mixture.widened(float(np.mean(inflated > 1)))
    left_out = Prediction(left_out.mean, factor * left_out.std)
    return Transferred(
        prior, rows, latency_ms, tuple(kept), weight, evidence, unit, factor, left_out
    )


def _logs(kept: Sequence[Setting]) -> Bool[np.ndarray, " g"]:
    return np.array([setting.log for setting in kept])


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
