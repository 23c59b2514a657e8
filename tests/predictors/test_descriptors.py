"""Descriptors of populations against paths walked one by one through the graph of each network."""

from collections import Counter

import numpy as np
import pytest

from predictors.descriptors import Descriptors
from predictors.paths import find_cells, kind_of
from search_spaces.ir.count import count
from search_spaces.ir.ops import macs
from search_spaces.registry import create

CELLS = create("nasbench201", resolution=(8,), widths=(4, 8), cells=2)
CHAIN = create(
    "mobilenet_v3", resolution=(16,), widths=(8, 16), strides=(1, 2), hswish=(False, True),
    squeeze_excite=(False, True), depth=(1, 2), kernel=(3, 5), expand=(2, 3), head=(16, 16),
)  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    return Descriptors(CELLS)


def walk(graph, prefix):
    """All paths through a cell that pass no zero, as lists of node names, from its input on."""
    ends = {0: [[]]}
    for target in range(1, 4):
        ends[target] = []
        for source in range(target):
            edge = [n for n in graph.nodes if n.name.startswith(f"{prefix}e{target}{source}/")]
            if edge[0].op != "zero":
                names = [node.name for node in edge]
                ends[target] += [path + names for path in ends[source]]
    return ends[3]


def expected(arch):
    graph = CELLS.build(arch)
    walked = walk(graph, "s0/c0/")
    kinds = [[k for n in path if (k := kind_of(graph.by_name[n]))] for path in walked]
    convs = [sum(k != "pool" for k in path) for path in kinds] or [0]
    pools = [path.count("pool") for path in kinds] or [0]
    alive = {n for path in walked for n in path}
    named = Counter(kind_of(graph.by_name[n]) or graph.by_name[n].op for n in alive)
    everywhere = {n for s in (0, 1) for c in (0, 1) for p in walk(graph, f"s{s}/c{c}/") for n in p}
    fixed = {n.name for n in graph.nodes if "/c" not in n.name.removesuffix("/conv")}
    return {
        "active_conv1x1": named["conv1x1"],
        "active_conv3x3": named["conv3x3"],
        "active_pool": named["pool"],
        "active_skip": named["identity"],
        "active_convs": named["conv1x1"] + named["conv3x3"],
        "paths": len(walked),
        "distinct_paths": len({tuple(path) for path in kinds}),
        "conv_paths": sum(c > 0 for c in convs) if walked else 0,
        "pool_paths": sum(c == 0 < p for c, p in zip(convs, pools, strict=True)),
        "free_paths": bool(walked) and min(convs) == 0,
        "identity_paths": [] in kinds,
        "dead": not walked,
        "most_convs": max(convs),
        "least_convs": min(convs),
        "mean_convs": np.mean(convs),
        "most_pools": max(pools),
        "least_pools": min(pools),
        "mean_pools": np.mean(pools),
        "most_conv3x3": max([path.count("conv3x3") for path in kinds], default=0),
        "all.macs": np.log1p(sum(macs(graph.by_name[n]) for n in everywhere | fixed)),
        "conv1x1-pool": kinds.count(["conv1x1", "pool"]) ** 0.5,
        "identity": kinds.count([]) ** 0.5,
    }


def test_a_population_is_described_as_its_networks_are(cells):
    archs = CELLS.sample(np.random.default_rng(0), 60)
    archs = np.concatenate([archs, CELLS.smallest()[None], CELLS.largest()[None]])
    found = cells(archs)
    for row, arch in zip(found, archs, strict=True):
        facts = dict(zip(cells.names, row, strict=True))
        for name, value in expected(arch).items():
            assert facts[name] == pytest.approx(float(value)), (name, arch)


def test_edges_that_lead_nowhere_do_not_count(cells):
    dead, without = np.array([[0, 3, 1, 2, 3, 0, 0], [0, 0, 0, 0, 3, 0, 0]])
    rows = cells(np.stack([dead, without]))
    same = rows[0] == rows[1]
    assert all(same[i] or group == "choices" for i, group in enumerate(cells.groups))


def test_equal_cells_are_one():
    (cell,) = find_cells(CELLS)
    assert cell.prefixes == ("s0/c0/", "s0/c1/", "s1/c0/", "s1/c1/")
    assert len(cell.paths) == 4 + 2 * 4**2 + 4**3


def test_chains_have_stages_only():
    descriptors = Descriptors(CHAIN)
    assert find_cells(CHAIN) == ()
    assert set(descriptors.groups) == {"stages", "choices"}
    archs = CHAIN.sample(np.random.default_rng(1), 20)
    for row, arch in zip(descriptors(archs), archs, strict=True):
        facts = dict(zip(descriptors.names, row, strict=True))
        graph = CHAIN.build(arch)
        own = [node for node in graph.nodes if node.name.startswith("s1/")]
        assert facts["all.macs"] == pytest.approx(np.log1p(count(graph).macs))
        assert facts["s1.macs"] == pytest.approx(np.log1p(sum(map(macs, own))))
        kinds = Counter(map(kind_of, own))
        assert facts["s1.depthwise5x5"] == kinds["depthwise5x5"]


def test_no_column_is_constant_or_said_twice(cells):
    values = cells(CELLS.sample(np.random.default_rng(2), 3000))
    assert np.all(values.std(0) > 0)
    plain = values[:, [g in ("cells", "stages") for g in cells.groups]]
    alike = np.abs(np.corrcoef(plain.T)) > 1 - 1e-9
    assert np.array_equal(alike, np.eye(len(alike), dtype=bool))


def test_a_row_does_not_depend_on_its_company(cells):
    archs = CELLS.sample(np.random.default_rng(3), 20_000)
    whole = cells(archs)
    assert np.array_equal(whole[-5:], cells(archs[-5:]))
    assert cells(archs[:0]).shape == (0, len(cells.names))
