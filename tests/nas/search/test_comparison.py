import numpy as np
import pytest
from scipy.stats import norm

from nas.search.comparison import better, bootstrap_interval, figures, holm


def test_bootstrap_intervals_are_those_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    half = norm.ppf(0.975) * values.std() / 20
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)
    told = figures(values)
    assert (told["low"], told["high"], told["seeds"]) == (low, high, 400)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


def test_better_is_one_sided_and_paired() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 10, 30)
    ours = shared + 0.5
    p = better(ours, {"worse": shared + 0.1 * rng.normal(size=30), "same": ours})
    assert p["worse"] < 1e-6
    assert p["same"] == 1.0
    assert better(shared, {"better": ours})["better"] > 0.99
