"""NAS-Bench-201 against the published counts of its networks, and its parameters."""

import os
from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.registry import create

# Not in the published counts: the dense layer's products, and the depthwise 1x1 before the last
# batch norm (8x8 positions, 64 channels).
_MORE_MACS = 10 * 64 + 8 * 8 * 64
_MORE_PARAMS = 64

# Operations of e10, e20, e21, e30, e31, e32; multiply-accumulates in millions and parameters in
# millions as published (D-X-Y/NATS-Bench, MIT).
_PUBLISHED = [
    ((0, 0, 0, 0, 0, 0), 7.7824, 0.073306),
    ((3, 3, 3, 3, 3, 3), 220.11904, 1.531546),
    ((4, 2, 1, 2, 1, 1), 15.64672, 0.129306),
]


@pytest.fixture(scope="module")
def space():
    return create("nasbench201")


@pytest.mark.parametrize(("ops", "macs_m", "params_m"), _PUBLISHED)
def test_counts_equal_the_published_ones(space, ops, macs_m, params_m):
    found = count(space.build(np.array([0, *ops])))
    assert (found.macs - _MORE_MACS) / 1e6 == pytest.approx(macs_m, abs=1e-5)
    assert (found.params - _MORE_PARAMS) / 1e6 == pytest.approx(params_m, abs=1e-6)


def test_counts_equal_the_whole_published_table(space):
    table_file = Path(os.environ.get("HWNAS_BENCH_DATA", "")) / "nasbench201" / "archs.parquet"
    if not table_file.is_file():
        pytest.skip("HWNAS_BENCH_DATA names no folder")
    import pandas as pd

    table = pd.read_parquet(table_file)
    ops = table[[f"op_{knob.name}" for knob in space.knobs[1:]]].to_numpy(int)
    archs, blocks = np.concatenate([np.zeros((len(ops), 1), int), ops], 1), BlockMap(space)
    assert len(archs) == space.size() == 5**6
    macs_m = (blocks.total(blocks.macs, archs) - _MORE_MACS) / 1e6
    params_m = (blocks.total(blocks.params, archs) - _MORE_PARAMS) / 1e6
    np.testing.assert_allclose(macs_m, table["macs_m"], rtol=1e-6)
    np.testing.assert_allclose(params_m, table["params_m_cifar10"], rtol=1e-6)


def test_cells_are_equal_and_all_edges_are_drawn(space):
    graph = space.build(np.array([0, 1, 0, 4, 3, 2, 1]))
    ops = {
        edge: {
            tuple(n.op for n in graph.nodes if n.name.startswith(f"s{s}/c{c}/{edge}/"))
            for s in range(3)
            for c in range(5)
        }
        for edge in ("e10", "e20", "e21", "e30", "e31", "e32")
    }
    assert ops == {
        "e10": {("identity",)},
        "e20": {("zero",)},
        "e21": {("avg_pool",)},
        "e30": {("relu", "conv", "batch_norm")},
        "e31": {("relu", "pointwise", "batch_norm")},
        "e32": {("identity",)},
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"widths": (16, 0)}, "widths: needs positive numbers, got [16, 0]"),
        ({"cells": 0}, "channels and cells must be positive, classes >= 2"),
        ({"nodes": 1}, "nodes: a cell has 2 to 10, got 1"),
        ({"width": (16,)}, "width: unknown key 'width'; did you mean 'widths'?"),
    ],
)
def test_wrong_parameters_are_one_clear_line(parameters, message):
    with pytest.raises(InputError) as caught:
        create("nasbench201", **parameters)
    assert caught.value.problems == [message]
