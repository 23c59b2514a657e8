"""MobileNetV3 against published counts of Once-for-All sub-networks, and its parameters."""

import os
from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.registry import create

# Kernels and expansion ratios of 20 blocks, depths of 5 stages, resolution; then million MACs and
# million parameters as published (HayeonLee/HELP, MIT; single precision).
_PUBLISHED = [
    ("75557757573753735353", "64466343363336346436", "22223", 204, 194.90042, 4.45792),
    ("73533737373737735573", "46344446366446643664", "23434", 136, 129.94014, 6.16688),
    ("35573353335535335773", "63334334444466446436", "44224", 132, 111.4434, 5.409392),
    ("35553377537773375577", "66666436334436346664", "23333", 168, 163.0053, 5.547832),
    ("73735757773557377533", "63643634364366433666", "22434", 172, 185.8884, 6.350232),
    ("33575353533555775375", "64664364436664644446", "32444", 156, 165.65582, 5.932928),
    ("77573553733575755375", "63364334333344464346", "43323", 180, 183.57256, 4.162576),
    ("77735537733773735573", "46336364343463363363", "42423", 180, 185.04471, 4.569304),
    ("53375353377537735353", "43364464663663643463", "34444", 204, 281.43057, 5.72412),
    ("55575575735735357333", "36336463436346334334", "33443", 140, 124.37655, 4.613992),
]


@pytest.fixture(scope="module")
def space():
    return create("mobilenet_v3", resolution=tuple(range(128, 225, 4)))


def encode(space, kernels, expands, depths, resolution):
    choices = {"resolution": int(resolution)}
    for s, depth in enumerate(depths):
        choices[f"s{s}.depth"] = int(depth)
        for i in range(int(depth)):
            choices[f"s{s}.b{i}.kernel"] = int(kernels[4 * s + i])
            choices[f"s{s}.b{i}.expand"] = int(expands[4 * s + i])
    return space.encode(choices)


@pytest.mark.parametrize("row", _PUBLISHED)
def test_counts_equal_the_published_ones(space, row):
    *arch, macs, params = row
    found = count(space.build(encode(space, *arch)))
    assert np.float32(found.macs / 1e6) == pytest.approx(macs, rel=1e-7)
    assert np.float32(found.params / 1e6) == pytest.approx(params, rel=1e-7)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_counts_equal_the_whole_published_table(space):
    folder = Path(os.environ.get("HWNAS_BENCH_DATA", "")) / "ofa_latency"
    if not (folder / "archs.parquet").is_file():
        pytest.skip("HWNAS_BENCH_DATA names no folder")
    import pandas as pd

    table = pd.read_parquet(folder / "archs.parquet")
    columns = {"resolution": "r"}
    for s in range(5):
        columns[f"s{s}.depth"] = f"d_{s}"
        for i in range(4):
            columns |= {
                f"s{s}.b{i}.kernel": f"ks_{4 * s + i}",
                f"s{s}.b{i}.expand": f"e_{4 * s + i}",
            }
    entries = [np.searchsorted(knob.options, table[columns[knob.name]]) for knob in space.knobs]
    archs = space.canonical(np.stack(entries, axis=1))
    assert len(archs) == 5000
    blocks = BlockMap(space)
    macs, params = blocks.total(blocks.macs, archs), blocks.total(blocks.params, archs)
    assert np.array_equal((macs / 1e6).astype(np.float32), table["macs_m"].to_numpy())
    assert np.array_equal((params / 1e6).astype(np.float32), table["params_m"].to_numpy())


def test_size_is_exact():
    blocks = 3 * 3
    stage = blocks**2 + blocks**3 + blocks**4
    assert create("mobilenet_v3", resolution=(128, 224)).size() == 2 * stage**5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"strides": (1, 2)}, "strides: needs one entry for each of the 5 widths"),
        ({"kernel": (3, 4)}, "kernel: sizes must be odd, got [3, 4]"),
        ({"depth": (0, 2)}, "depth: a stage has at least 1 block, its first one downsamples"),
        ({"expand": (6, 3)}, "s0.b0.expand: options (6.0, 3.0) must ascend: write them in order"),
        ({"resolutoin": (32,)}, "resolutoin: unknown key 'resolutoin'; did you mean 'resolution'?"),
    ],
)
def test_wrong_parameters_are_one_clear_line(parameters, message):
    with pytest.raises(InputError) as caught:
        create("mobilenet_v3", **parameters).knobs  # noqa: B018
    assert caught.value.problems == [message]
