import numpy as np
import pytest

from hw_profiles.correction import Correction, features, fit


def networks(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(8, 22, n)
    macs = rng.integers(1_000_000, 9_000_000, n)
    return blocks * rng.uniform(15.0, 40.0, n), blocks, macs


def noise(n: int, level: float) -> np.ndarray:
    return 1 + level * np.random.default_rng(9).standard_normal(n)


def test_a_scale_is_found_and_nothing_more() -> None:
    sums, blocks, macs = networks(30)
    correction = fit(features(sums, blocks, macs), 1.1 * sums * noise(30, 0.005))
    assert correction.scale == pytest.approx(1.1, rel=0.005)
    assert correction.per_block_us == correction.constant_us == correction.per_mega_mac_us == 0


def test_a_cost_per_block_is_found() -> None:
    sums, blocks, macs = networks(30)
    correction = fit(features(sums, blocks, macs), 1.05 * sums + 6.0 * blocks)
    assert correction.scale == pytest.approx(1.05)
    assert correction.per_block_us == pytest.approx(6.0)
    per_unit = correction.per_unit(np.array([10.0]), np.array([3_000_000]))
    assert per_unit[0] == pytest.approx(1.05 * 10 + 6)


def test_the_interval_holds_nine_of_ten() -> None:
    held = []
    for seed in range(40):
        sums, blocks, macs = networks(70, seed)
        y = 1.1 * sums * (1 + 0.02 * np.random.default_rng(seed).standard_normal(70))
        correction = fit(features(sums[:30], blocks[:30], macs[:30]), y[:30])
        estimate = correction.per_unit(sums[30:], macs[30:]) + correction.constant_us
        estimate = estimate + correction.per_block_us * (blocks[30:] - 1)
        held.append(np.mean(np.abs(y[30:] / estimate - 1) <= correction.interval))
    assert 0.87 <= np.mean(held) <= 0.97


def test_without_networks_nothing_is_pretended() -> None:
    sums, blocks, macs = networks(0)
    correction = fit(features(sums, blocks, macs), sums)
    assert (correction.scale, correction.n) == (1.0, 0)
    assert np.isnan(correction.interval)
    assert np.isnan(Correction().error)


def test_one_network_gives_a_scale_without_an_interval() -> None:
    sums, blocks, macs = networks(1)
    correction = fit(features(sums, blocks, macs), 1.2 * sums)
    assert correction.scale == pytest.approx(1.2)
    assert np.isnan(correction.interval)
