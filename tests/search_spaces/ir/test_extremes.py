"""The cheapest architecture, against enumeration and against sampling."""

import numpy as np
import pytest

from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.extremes import cheapest
from search_spaces.registry import create

_SMALL = {
    "resolution": (6, 8),
    "channels": 1,
    "classes": 4,
    "widths": (8, 16),
    "strides": (1, 2),
    "hswish": (False, True),
    "squeeze_excite": (False, True),
    "depth": (1, 2),
    "kernel": (3, 5),
    "expand": (2, 3),
    "head": (16, 24),
}


@pytest.fixture(scope="module")
def blocks():
    return BlockMap(create("mobilenet_v3", **_SMALL))


@pytest.mark.parametrize("seed", range(5))
def test_equals_enumeration_for_any_costs(blocks, seed):
    space = blocks.space
    costs = np.random.default_rng(seed).normal(size=len(blocks.units))
    everything = np.indices(space.cardinality).reshape(len(space.knobs), -1).T
    totals = blocks.total(costs, everything)
    best = cheapest(blocks, costs)
    assert best.value == pytest.approx(totals.min())
    assert blocks.total(costs, best.arch[None])[0] == pytest.approx(best.value)


def test_of_a_space_too_large_to_enumerate():
    blocks = BlockMap(create("mobilenet_v3", resolution=(32, 64)))
    macs = blocks.macs.astype(float)
    least, most = cheapest(blocks, macs), cheapest(blocks, -macs)
    space = blocks.space
    assert np.array_equal(least.arch, space.smallest())
    assert np.array_equal(most.arch, space.largest())
    sampled = blocks.total(macs, space.sample(np.random.default_rng(0), 500))
    assert least.value <= sampled.min()
    assert sampled.max() <= -most.value
