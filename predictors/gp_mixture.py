"""Gaussian processes under many settings at once, weighed by how well each explains the labels.

With ten labels no single kernel, noise level or scale can be told from the next, so none is
picked: each setting's estimates count by its evidence (Rasmussen & Williams, "Gaussian Processes
for Machine Learning", 2006, §5.4.1). All settings are solved together in batches of small matrices.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.optimize import brentq
from scipy.special import log_ndtr, logsumexp, ndtr

from hw_profiles.intervals import Z_90

Labels = Float64[np.ndarray, "g n"]

# Expectation propagation ends after so many rounds; steps are damped, or they may oscillate.
_ROUNDS, _STEP = 12, 0.7
# A wild label's standard deviation over that of others, and the share of labels that are wild.
WILD, _WILD_SHARE = 10.0, 0.05


@dataclass(frozen=True)
class Evidence:
    """What labels say under each of `g` settings.

    Args:
        inverse: of the labels' covariance, noise in it.
        alpha: `inverse` times the labels.
        log_evidence: logarithm of the labels' probability, densities for exact labels.
        left_out_mean: estimate of each label from the others.
        left_out_variance: its variance, noise in it.
    """

    inverse: Float64[np.ndarray, "g n n"]
    alpha: Labels
    log_evidence: Float64[np.ndarray, " g"]
    left_out_mean: Labels
    left_out_variance: Labels


def solve(kernels: Float[np.ndarray, "g n n"], labels: Labels, noise: Labels) -> Evidence:
    """Exact labels with independent Gaussian noise.

    Labels left out in closed form: Rasmussen & Williams, equations 5.10 to 5.12.

    Args:
        kernels: prior covariance of the labelled networks under each setting.
        labels: about zero.
        noise: variances.
    """
    covariance = kernels + noise[:, :, None] * np.eye(labels.shape[1])
    inverse = np.linalg.inv(covariance)
    alpha = np.einsum("gij,gj->gi", inverse, labels)
    log_evidence = -0.5 * (labels * alpha).sum(1) - 0.5 * np.linalg.slogdet(covariance)[1]
    variance = 1 / np.diagonal(inverse, axis1=1, axis2=2)
    density = log_evidence - 0.5 * labels.shape[1] * np.log(2 * np.pi)
    return Evidence(inverse, alpha, density, labels - alpha * variance, variance)


def solve_censored(
    kernels: Float[np.ndarray, "g n n"], lower: Labels, upper: Labels, noise: Labels
) -> Evidence:
    """Labels of which only an interval is known, such as whole milliseconds.

    Expectation propagation (Rasmussen & Williams, §3.6) with the mass of a normal distribution
    between both ends as likelihood.

    Args:
        kernels: prior covariance of the labelled networks under each setting.
        lower: lower end of each label.
        upper: upper end, above it.
        noise: variances of the label before it was cut to its interval.
    """
    site_variance = noise + np.square(upper - lower) / 12
    site_mean = (lower + upper) / 2
    for _ in range(_ROUNDS):
        gaussian = solve(kernels, site_mean, site_variance)
        cavity = np.maximum(gaussian.left_out_variance - site_variance, 1e-12)
        mean = gaussian.left_out_mean
        _, cut_mean, cut_variance = _truncated(mean, cavity + noise, lower, upper)
        share = cavity / (cavity + noise)
        new_mean = mean + share * (cut_mean - mean)
        new_variance = cavity - share * (cavity - share * cut_variance)
        precision = np.maximum(1 / new_variance - 1 / cavity, 1e-9 / cavity)
        shifted = new_mean / new_variance - mean / cavity
        old = 1 / site_variance
        shifted = old * site_mean + _STEP * (shifted - old * site_mean)
        precision = old + _STEP * (precision - old)
        site_variance, site_mean = 1 / precision, shifted / precision
    gaussian = solve(kernels, site_mean, site_variance)
    cavity = np.maximum(gaussian.left_out_variance - site_variance, 1e-12)
    mean = gaussian.left_out_mean
    log_mass = _truncated(mean, cavity + noise, lower, upper)[0]
    spread = cavity + site_variance
    corrections = log_mass + 0.5 * np.log(spread) + np.square(mean - site_mean) / (2 * spread)
    constant = 0.5 * np.log(2 * np.pi) * lower.shape[1]
    return replace(
        gaussian,
        log_evidence=gaussian.log_evidence + constant + corrections.sum(1),
        left_out_variance=cavity + noise + np.square(upper - lower) / 12,
    )


def weights(log_evidence: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
    """How much each setting counts; they add up to 1."""
    return np.exp(log_evidence - logsumexp(log_evidence))


def left_out_weights(
    weight: Float64[np.ndarray, " g"], labels: Labels, log_density: Labels, evidence: Evidence
) -> Labels:
    """How much each setting counts by all labels but one, for each label.

    The evidence is a product of what each label adds to the others, so a label's share of it is the
    density that the others give it. With many settings this matters: the one that happens to suit
    a label counts more for it.

    Args:
        weight: of the settings by all labels.
        labels: the labels, or the middle of their intervals.
        log_density: what makes a density on a setting's scale one that settings share.
        evidence: of the settings.
    """
    variance = evidence.left_out_variance
    square = np.square(labels - evidence.left_out_mean) / variance
    told = log_density - 0.5 * (square + np.log(2 * np.pi * variance))
    log_weight = np.log(np.maximum(weight, 1e-300))[:, None] - told
    total: Any = logsumexp(log_weight, axis=0)
    return np.exp(log_weight - total[None, :])


def pooled(
    weight: Float64[np.ndarray, "g _"],
    mean: Float64[np.ndarray, "g n"],
    variance: Float64[np.ndarray, "g n"],
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Mean and variance of the mixture of all settings' estimates.

    Args:
        weight: of each setting, for all networks or for each.
        mean: its estimates.
        variance: their variances.
    """
    center = (weight * mean).sum(0)
    return center, (weight * (variance + np.square(mean - center[None, :]))).sum(0)


def gain_if_wild(
    evidence: Evidence, log_evidence: Float64[np.ndarray, " g"], labels: Labels, noise: Labels
) -> Float64[np.ndarray, " n"]:
    """What the log evidence gains with each label wild: its noise `WILD` times that of the others.

    Contaminated normal errors (Box & Tiao, "A Bayesian approach to some outlier problems",
    Biometrika 1968), one label at a time, over all settings: a wild one and little noise may
    explain the labels better than much noise of all.

    Args:
        evidence: of the settings as they are.
        log_evidence: of the same, as latencies.
        labels: the labels.
        noise: variances that a wild label's is a multiple of.
    """
    square = np.square(labels - evidence.left_out_mean)
    tame = evidence.left_out_variance
    wild = tame + (WILD**2 - 1) * noise
    gain = 0.5 * (square / tame - square / wild + np.log(tame / wild))
    with_it: Any = logsumexp(log_evidence[:, None] + gain, axis=0)
    return with_it - logsumexp(log_evidence)


def with_wild(log_evidence: Float64[np.ndarray, " g"], count: int) -> float:
    """Log evidence of all settings together, and of so many labels being wild."""
    return float(logsumexp(log_evidence) + count * np.log(_WILD_SHARE / (1 - _WILD_SHARE)))


def widened(share: float) -> float:
    """Factor on the spread of tame labels for an interval that holds 90 % of all.

    Args:
        share: of labels that are wild.
    """

    def beyond(factor: float) -> float:
        tame, wild = (2 * ndtr(-Z_90 * factor / size) for size in (1.0, WILD))
        return (1 - share) * tame + share * wild - 0.1

    root: Any = brentq(beyond, 1.0, WILD) if share > 0 else 1.0
    return float(root)


def _truncated(
    mean: Labels, variance: Labels, lower: Labels, upper: Labels
) -> tuple[Labels, Labels, Labels]:
    """Log mass, mean and variance of a normal distribution between two ends."""
    std = np.sqrt(variance)
    a, b = (lower - mean) / std, (upper - mean) / std
    # In the upper tail both values of the distribution function are 1: mirrored, they are not.
    mirrored = a > 0
    a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
    log_a, log_b = log_ndtr(a), log_ndtr(b)
    log_mass = log_b + np.log1p(-np.exp(np.minimum(log_a - log_b, -1e-12)))
    log_2pi = np.log(2 * np.pi)
    at_a = np.exp(-0.5 * (np.square(a) + log_2pi) - log_mass)
    at_b = np.exp(-0.5 * (np.square(b) + log_2pi) - log_mass)
    shift = at_a - at_b
    shrunk = np.clip(1 + a * at_a - b * at_b - np.square(shift), 1e-6, 1.0)
    return log_mass, mean + std * np.where(mirrored, -shift, shift), variance * shrunk
