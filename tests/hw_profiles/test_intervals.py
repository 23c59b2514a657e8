import numpy as np
import pytest
from scipy.stats import norm

from hw_profiles.intervals import Z_90, quantile_90


def test_ninety_percent_of_a_normal_lie_within() -> None:
    assert norm.cdf(Z_90) - norm.cdf(-Z_90) == pytest.approx(0.9, abs=1e-15)


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (8, 8), (9, 9), (19, 18), (99, 90)])
def test_quantile_is_the_conformal_one(n: int, expected: int) -> None:
    errors = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert quantile_90(errors) == expected
