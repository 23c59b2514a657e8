"""NAS-Bench-Macro against the published counts of its networks, and its parameters."""

import os
from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.registry import create
from search_spaces.space import Archs

# Architecture, parameters and FLOPs (multiply-accumulates) as published (xiusu/NAS-Bench-Macro,
# Apache-2.0).
_PUBLISHED = [
    ("00000000", 387882, 7713280),
    ("00000001", 791594, 14115328),
    ("00000020", 1219370, 20910592),
    ("00000100", 507562, 11962880),
    ("00000200", 672298, 16933376),
    ("00001110", 1014826, 24877568),
    ("22222000", 985194, 70046208),
    ("22222221", 2504810, 98865664),
]


@pytest.fixture(scope="module")
def space():
    return create("nasbench_macro")


def archs_of(digits) -> Archs:
    """The resolution's only option, then a digit a layer."""
    return np.array([[0, *map(int, text)] for text in digits])


@pytest.mark.parametrize(("digits", "params", "macs"), _PUBLISHED)
def test_counts_equal_the_published_ones(space, digits, params, macs):
    found = count(space.build(archs_of([digits])[0]))
    assert (found.params, found.macs) == (params, macs)


def test_counts_equal_the_whole_published_table(space):
    table_file = (
        Path(os.environ.get("HWNAS_BENCH_DATA", "")) / "nasbench_macro" / "nasbench_macro.parquet"
    )
    if not table_file.is_file():
        pytest.skip("HWNAS_BENCH_DATA names no folder")
    import pandas as pd

    table = pd.read_parquet(table_file)
    archs, blocks = archs_of(table["arch"]), BlockMap(space)
    assert len(archs) > 4000
    assert np.array_equal(blocks.total(blocks.params, archs), table["params"])
    assert np.array_equal(blocks.total(blocks.macs, archs), table["flops"])


def test_every_combination_of_choices_is_an_architecture(space):
    assert space.size() == 3**8 == 6561


def test_an_identity_keeps_its_input_or_projects_it_where_the_shape_changes(space):
    graph = space.build(space.smallest())
    ops = {
        f"l{i}": [node.op for node in graph.nodes if node.name.startswith(f"l{i}/")]
        for i in range(8)
    }
    changes = {"l0", "l2", "l5"}
    assert {name for name, found in ops.items() if found == ["conv", "batch_norm"]} == changes
    assert {name for name, found in ops.items() if found == ["identity"]} == ops.keys() - changes


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": (2, 3)}, "layers: needs one entry for each of the 3 widths"),
        ({"layers": (2, 0, 3)}, "layers: needs positive numbers, got [2, 0, 3]"),
        ({"head": 0}, "channels, stem, stem_stride and head must be positive, classes >= 2"),
        ({"layer": (2, 3, 3)}, "layer: unknown key 'layer'; did you mean 'layers'?"),
    ],
)
def test_wrong_parameters_are_one_clear_line(parameters, message):
    with pytest.raises(InputError) as caught:
        create("nasbench_macro", **parameters)
    assert caught.value.problems == [message]
