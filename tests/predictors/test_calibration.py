import numpy as np
import pytest

from predictors.calibration import least_std, scale_90
from predictors.metrics import coverage


@pytest.mark.parametrize("n", [20, 100])
def test_ninety_percent_of_new_labels_fall_inside(n):
    """On average over many calibrations, also for heavy tails, which a plain std misjudges."""
    rng = np.random.default_rng(n)
    shares = []
    for _ in range(400):
        std = rng.uniform(0.5, 2, n + 200)
        errors = std * rng.standard_t(3, n + 200)
        scale = scale_90(errors[:n], std[:n])
        shares.append(coverage(errors[n:], np.zeros(200), scale * std[n:]))
    assert 0.895 <= np.mean(shares) <= 0.92


def test_least_spread_is_positive_for_any_labels():
    assert least_std(np.zeros(3)) > 0
    assert least_std(np.array([-50.0, 20.0])) == pytest.approx(5e-5)
