from dataclasses import asdict

import numpy as np
import pytest

from predictors import bootstrap, metrics
from predictors.report import judge, score


def _drawn(counts):
    return np.repeat(np.arange(len(counts)), counts.astype(int))


def test_every_figure_of_a_resample_is_that_of_the_networks_drawn():
    rng = np.random.default_rng(0)
    y = np.round(rng.standard_normal(40) + 3, 1)  # with ties
    mean, std = np.round(y + 0.5 * rng.standard_normal(40), 1), rng.uniform(0.2, 1, 40)
    counts = bootstrap.resamples(40, seed=1, count=30)
    found = bootstrap.figures(y, mean, std, 10, counts)
    for row, each in enumerate(counts):
        rows = _drawn(each)
        assert len(rows) == 40
        for name, value in asdict(score(y[rows], mean[rows], std[rows])).items():
            assert found[name][row] == pytest.approx(value, abs=1e-6), name


def test_constant_estimates_have_no_order_in_any_resample():
    y, same = np.arange(20.0), np.ones(20)
    counts = bootstrap.resamples(20, count=50)
    assert not bootstrap.kendall_tau(y, same, counts).any()
    assert not bootstrap.spearman(same, y, counts).any()


def test_intervals_hold_what_other_networks_show():
    """Nineteen of twenty, of samples from one population: 95 %, as closely as 200 samples tell."""
    rng, inside = np.random.default_rng(2), 0
    noise = 1.0
    y = rng.standard_normal(4000)
    truth = metrics.spearman(y, y + noise * rng.standard_normal(4000))
    for _ in range(200):
        a = rng.standard_normal(80)
        counts = bootstrap.resamples(80, count=200)
        found = bootstrap.spearman(a, a + noise * rng.standard_normal(80), counts)
        low, high = bootstrap.interval_95(found)
        inside += low <= truth <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_many_networks_are_judged_by_a_part_of_their_pairs(monkeypatch):
    rng = np.random.default_rng(3)
    y = rng.standard_normal(600)
    estimate = y + rng.standard_normal(600)
    counts = bootstrap.resamples(600, count=200)
    whole = bootstrap.kendall_tau(y, estimate, counts)
    monkeypatch.setattr(bootstrap, "_MOST_PAIRED", 300)
    part = bootstrap.kendall_tau(y, estimate, counts)
    assert part.mean() == pytest.approx(metrics.kendall_tau(y, estimate), abs=0.01)
    assert part.std() == pytest.approx(whole.std(), rel=0.25)


def test_gains_are_paired():
    rng = np.random.default_rng(4)
    y, std = rng.standard_normal(60), np.ones(60)
    baseline = y + 2.0 * rng.standard_normal(60)
    estimates = {
        "good": (y + 0.1 * rng.standard_normal(60), std),
        "same": (3 * baseline, std),
        "ridge": (baseline, std),
    }
    judged = judge(y, estimates, ("ridge", "macs"))
    assert judged["good"].kendall_over["ridge"][0] > 0
    assert judged["same"].kendall_over == {"ridge": (0.0, 0.0)}
    assert not judged["ridge"].kendall_over
    low, high = judged["ridge"].intervals["kendall"]
    assert low < judged["ridge"].scores.kendall < high
