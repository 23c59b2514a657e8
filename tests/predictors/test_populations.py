import numpy as np
import pytest

from predictors import populations
from predictors.base import Prediction
from predictors.populations import in_parts


@pytest.mark.parametrize(("options", "most"), [(100, 25_000), (3, 27)])
def test_parts_are_put_together_in_order(options, most):
    """A small space's architectures are estimated once each, those of a large one all."""
    cardinality = np.array([options] * 3)
    archs = np.random.default_rng(0).integers(0, options, (25_000, 3))
    sizes = []

    def estimate(part: np.ndarray) -> Prediction:
        sizes.append(len(part))
        value = part @ np.array([1.0, 10.0, 100.0])
        return Prediction(value, value + 1)

    found = in_parts(estimate, cardinality, archs)
    assert np.array_equal(found.mean, archs @ np.array([1.0, 10.0, 100.0]))
    assert np.array_equal(found.std, found.mean + 1)
    assert sum(sizes) == most
    assert max(sizes) <= populations._PART
