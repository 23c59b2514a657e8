import doctest
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data.batches import epoch_order


@given(st.integers(0, 2**31), st.integers(0, 500), st.integers(1, 200), st.integers(1, 64))
def test_an_epoch_visits_each_example_at_most_once(seed, epoch, n, batch):
    order = epoch_order(seed, epoch, n, batch)
    assert order.shape == (n // min(n, batch), min(n, batch))
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < n
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, n, batch))


def test_epochs_and_seeds_differ():
    orders = [epoch_order(seed, epoch, 100, 10) for seed in range(3) for epoch in range(3)]
    assert len({order.tobytes() for order in orders}) == 9


@pytest.mark.parametrize("module", ["batches", "registry", "resize", "split"])
def test_docstring_examples(module):
    result = doctest.testmod(import_module(f"nas.data.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
