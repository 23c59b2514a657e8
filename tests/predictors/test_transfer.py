from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float
from scipy.stats import multivariate_normal, norm

from predictors import gp_mixture
from predictors.metrics import coverage, spearman
from predictors.smoothing import smooth_ms
from predictors.spread_choice import v_optimal
from predictors.transfer import Transfer
from predictors.transfer_fit import grain
from predictors.transfer_settings import Description, settings
from search_spaces.errors import InputError

POOL, LAYERS, OPTIONS = 600, 6, 4


def networks(seed: int = 0) -> tuple[Description, np.ndarray]:
    """Networks of six layers, and each option's cost in each layer on two kinds of hardware."""
    rng = np.random.default_rng(seed)
    choices = rng.integers(0, OPTIONS, (POOL, LAYERS))
    taken = choices[:, :, None] == np.arange(OPTIONS)[None, None, :]
    onehot = taken.reshape(POOL, -1).astype(np.float32)
    work = np.array([0.2, 1.0, 3.0, 5.0])[choices] * np.linspace(0.5, 1.5, LAYERS)[None, :]
    statistics = np.stack([work.sum(1), 1.0 + choices.sum(1)], 1)
    return Description(onehot, taken.sum(1).astype(float), statistics), onehot.astype(float)


def device(onehot: np.ndarray, kind: float, seed: int) -> Float[np.ndarray, " n"]:
    """Latencies between those of two kinds of hardware, with costs of its own beside."""
    rng = np.random.default_rng(seed)
    one, other = np.random.default_rng(77).uniform(0.2, 3.0, (2, onehot.shape[1]))
    costs = (1 - kind) * one + kind * other + 0.03 * rng.standard_normal(len(one))
    return 2.0 + onehot @ costs


def case(noise: float = 0.01) -> tuple[Transfer, Float[np.ndarray, " n"]]:
    reading, onehot = networks()
    sources = [device(onehot, kind, 10 + i) for i, kind in enumerate((0.0, 0.2, 0.5, 0.8, 1.0))]
    target = 3.0 * device(onehot, 0.35, 3)
    target *= 1 + noise * np.random.default_rng(5).standard_normal(POOL)
    return Transfer((reading,), np.stack(sources, 1)), target


def test_evidence_is_the_density_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, 3))
    kernels = x @ x.transpose(0, 2, 1)
    labels, noise = rng.standard_normal((2, 5)), rng.uniform(0.1, 1.0, (2, 5))
    found = gp_mixture.solve(kernels, labels, noise)
    for g in range(2):
        covariance = kernels[g] + np.diag(noise[g])
        density = multivariate_normal(np.zeros(5), covariance).logpdf(labels[g])
        np.testing.assert_allclose(found.log_evidence[g], density)
        rest = np.arange(5) != 2
        solved = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest][:, [2]])[:, 0]
        np.testing.assert_allclose(found.left_out_mean[g, 2], solved @ labels[g, rest])
        variance = covariance[2, 2] - solved @ covariance[rest, 2]
        np.testing.assert_allclose(found.left_out_variance[g, 2], variance)


def test_a_label_left_out_does_not_weigh_the_settings() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4, 6, 3))
    kernels = x @ x.transpose(0, 2, 1)
    labels, noise = rng.standard_normal((4, 6)), rng.uniform(0.1, 1.0, (4, 6))
    density = rng.standard_normal((4, 6))
    found = gp_mixture.solve(kernels, labels, noise)
    weight = gp_mixture.weights(found.log_evidence + density.sum(1))
    each = gp_mixture.left_out_weights(weight, labels, density, found)
    for i in range(6):
        rest = np.arange(6) != i
        fewer = gp_mixture.solve(
            kernels[:, rest][:, :, rest], labels[:, rest], noise[:, rest]
        ).log_evidence
        expected = gp_mixture.weights(fewer + density[:, rest].sum(1))
        np.testing.assert_allclose(each[:, i], expected)


def test_a_single_interval_has_its_exact_mass() -> None:
    kernels, noise = np.full((1, 1, 1), 2.0), np.full((1, 1), 0.5)
    lower, upper = np.array([[0.3]]), np.array([[1.9]])
    found = gp_mixture.solve_censored(kernels, lower, upper, noise)
    distribution = norm(0, np.sqrt(2.5))
    mass = distribution.cdf(1.9) - distribution.cdf(0.3)
    np.testing.assert_allclose(found.log_evidence, np.log(mass), rtol=1e-6)


def test_narrow_intervals_are_exact_labels() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 6, 2))
    kernels, noise = x @ x.transpose(0, 2, 1), np.full((1, 6), 0.2)
    labels = rng.standard_normal((1, 6))
    exact = gp_mixture.solve(kernels, labels, noise)
    close = gp_mixture.solve_censored(kernels, labels - 1e-3, labels + 1e-3, noise)
    np.testing.assert_allclose(close.left_out_mean, exact.left_out_mean, atol=1e-4)
    density = close.log_evidence - 6 * np.log(2e-3)
    np.testing.assert_allclose(density, exact.log_evidence, atol=1e-3)


def test_the_first_choice_is_the_best_of_all() -> None:
    x = np.random.default_rng(2).standard_normal((40, 4))
    rows, noise = np.arange(40), 0.3
    chosen = v_optimal(x, rows, rows, 40, noise)
    assert sorted(chosen) == list(range(40))

    def left(some: np.ndarray) -> float:
        wide = np.hstack([x, np.full((40, 1), 10.0)])
        precision = np.eye(5) + wide[some].T @ wide[some] / noise
        return float(np.einsum("ij,jk,ik->", wide, np.linalg.inv(precision), wide))

    assert left(chosen[:1]) == pytest.approx(min(left(np.array([row])) for row in range(40)))
    random = [np.random.default_rng(s).choice(40, 8, replace=False) for s in range(20)]
    assert left(chosen[:8]) < min(map(left, random))


def test_ten_measurements_suffice_where_other_devices_are_alike() -> None:
    transfer, y = case()
    rows = transfer.choose(10)
    found = transfer.fit(rows, y[rows])
    others = np.setdiff1d(np.arange(POOL), rows)
    prediction = found.predict(others)
    assert spearman(y[others], prediction.mean) > 0.97
    assert found.shares["sources"] > 0.9
    assert found.doubts == ()


def test_intervals_hold_what_they_promise() -> None:
    transfer, y = case(noise=0.04)
    shares = []
    for seed in range(4):
        rows = transfer.choose(50, seed=seed)
        others = np.setdiff1d(np.arange(POOL), rows)
        found = transfer.fit(rows, y[rows]).predict(others)
        shares.append(coverage(y[others], found.mean, found.std))
    assert 0.86 <= np.mean(shares) <= 0.94


def test_a_device_like_one_source_is_told_from_few_noisy_measurements() -> None:
    reading, onehot = networks()
    rng = np.random.default_rng(8)
    costs = rng.uniform(0.2, 3.0, (8, onehot.shape[1]))
    sources = 2.0 + onehot @ costs.T
    transfer = Transfer((reading,), sources)
    weight, order = np.zeros(8), []
    for seed in range(3):
        noise = 0.06 * np.random.default_rng(seed).standard_normal(POOL)
        rows = transfer.choose(8, seed=seed)
        fit = transfer.fit(rows, (3.0 * sources[:, 5] * (1 + noise))[rows])
        for share, setting in zip(fit.weight, fit.settings, strict=True):
            if setting.like is not None:
                weight[setting.like] += share
        order.append(spearman(sources[:, 5], fit.predict(np.arange(POOL)).mean))
    assert np.argmax(weight) == 5
    # With all sources as likely it is .79.
    assert np.mean(order) > 0.84


def test_an_alien_device_is_told_by_its_architectures() -> None:
    transfer, _ = case()
    reading = transfer.readings[0]
    y = 1.0 + reading.tallies @ np.array([9.0, 0.5, 4.0, 0.1])
    rows = transfer.choose(30)
    found = transfer.fit(rows, y[rows])
    assert spearman(y, found.predict(np.arange(POOL)).mean) > 0.95
    assert found.shares["sources"] < 0.5


def test_noise_is_doubted() -> None:
    transfer, _ = case()
    found = []
    for seed in range(1, 6):
        y = np.random.default_rng(seed).uniform(1, 20, POOL)
        rows = transfer.choose(12)
        found.append(transfer.fit(rows, y[rows]).doubts)
    assert all(found)
    assert sum("another order" in doubt for doubts in found for doubt in doubts) >= 4


def test_one_wild_measurement_does_little_harm() -> None:
    transfer, y = case()
    rows = transfer.choose(20)
    wild = y[rows].copy()
    wild[7] *= 3
    mean = transfer.fit(rows, wild).predict(np.arange(POOL)).mean
    assert spearman(y, mean) > 0.93


def test_wild_measurements_are_found_among_ten() -> None:
    transfer, y = case()
    rows = transfer.choose(10)
    wild = y[rows].copy()
    wild[[2, 6]] *= 1.8
    found = transfer.fit(rows, wild)
    tame = transfer.fit(rows, y[rows])
    assert spearman(y, found.predict(np.arange(POOL)).mean) > 0.96
    assert found.factor > tame.factor
    level = np.median(found.predict(np.arange(POOL)).mean / y)
    assert abs(level - 1) < 0.02


def test_the_interval_is_widened_for_the_share_of_wild_ones() -> None:
    assert gp_mixture.widened(0.0) == 1.0
    factor = gp_mixture.widened(0.1)
    rng = np.random.default_rng(0)
    size = np.where(rng.random(200_000) < 0.1, gp_mixture.WILD, 1.0)
    drawn = size * rng.standard_normal(len(size))
    assert np.mean(np.abs(drawn) < factor * 1.645) == pytest.approx(0.9, abs=0.003)


def test_whole_milliseconds_are_intervals() -> None:
    transfer, y = case()
    rows = transfer.choose(30)
    found = transfer.fit(rows, np.round(y[rows]))
    assert found.grain_ms == 1.0
    mean = found.predict(np.arange(POOL)).mean
    assert np.abs(mean / y - 1).mean() < 0.02
    assert grain(np.array([3.1, 12.4, 0.5])) == pytest.approx(0.1)
    assert grain(y[rows]) == 0


def test_both_readings_are_weighed_and_the_true_one_counts() -> None:
    reading, onehot = networks()
    shuffled = np.random.default_rng(3).permutation(POOL)
    wrong = Description(onehot[shuffled], reading.tallies[shuffled], reading.statistics[shuffled])
    transfer = Transfer((wrong, reading), np.zeros((POOL, 0)))
    y = device(onehot, 0.5, 1)
    rows = transfer.choose(40)
    found = transfer.fit(rows, y[rows])
    right = sum(w for w, s in zip(found.weight, found.settings, strict=True) if s.reading == 1)
    assert right > 0.99


def test_bad_measurements_are_refused() -> None:
    transfer, y = case()
    with pytest.raises(InputError, match="4 distinct networks or more"):
        transfer.fit(np.array([1, 2, 2]), y[:3])
    with pytest.raises(InputError, match="positive and finite"):
        transfer.fit(np.arange(5), np.array([1.0, 2.0, 0.0, 1.0, 1.0]))
    with pytest.raises(InputError, match="not alike"):
        Transfer(transfer.readings, np.ones((3, 1)))


def test_settings_without_sources_use_none() -> None:
    assert not any(s.sources for s in settings(1, sources=0))
    assert len(set(settings(2, sources=3))) == len(settings(2, sources=3))
    assert {s.like for s in settings(2, sources=3)} == {None, 0, 1, 2}


def test_smoothing_takes_the_noise_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    _, onehot = networks()
    truth = device(onehot, 0.3, 2)
    noisy = truth * np.exp(0.1 * np.random.default_rng(4).standard_normal(POOL))
    smooth = smooth_ms(onehot, noisy, onehot)
    assert np.std(np.log(smooth / truth)) < 0.05
    (file,) = (tmp_path / "smoothed").iterdir()
    before = file.stat().st_mtime_ns
    np.testing.assert_array_equal(smooth_ms(onehot, noisy, onehot), smooth)
    assert file.stat().st_mtime_ns == before


def test_smoothing_is_not_drawn_by_far_off_networks() -> None:
    _, onehot = networks()
    truth = device(onehot, 0.3, 2)
    rng = np.random.default_rng(6)
    noisy = truth * np.exp(0.02 * rng.standard_normal(POOL))
    noisy[rng.choice(POOL, POOL // 20, replace=False)] *= 2
    smooth = smooth_ms(onehot, noisy, onehot, cached=False)
    # Fitted to them as they are, sources came out .04 off.
    assert np.abs(np.log(smooth / truth)).mean() < 0.015
