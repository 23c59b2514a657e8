"""What blocks in patches tell of a network is what the whole network in patches needs."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hw_profiles.block_memory import BlockMemory
from hw_profiles.device import load_device
from hw_profiles.mcu.arena import arena, flash_bytes
from hw_profiles.mcu.lower import Int8Network
from hw_profiles.mcu.memory import planned, unweighted
from hw_profiles.mcu.patched_blocks import PatchedBlocks
from hw_profiles.mcu.simulate import geometry
from hw_profiles.profilers.base import Measurement
from hw_profiles.table import LatencyTable, settings_of
from hw_profiles.worklist import blocks_on, worklist
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.graph import Graph
from search_spaces.registry import create

SPACE = create(
    "mcunet",
    resolution=(12, 16),
    channels=1,
    classes=3,
    stem=8,
    stem_stride=1,
    widths=(8, 16),
    strides=(2, 1),
    width=(1.0,),
    depth=(1, 2),
    kernel=(3, 5),
    expand=(2, 3),
    patches=(1, 2, 3),
    patched_stages=(0, 1, 2),
)


@pytest.fixture(scope="module")
def plain() -> BlockMap:
    return BlockMap(SPACE)


@pytest.fixture(scope="module")
def blocks(plain: BlockMap) -> BlockMap:
    return PatchedBlocks(plain)


@pytest.fixture(scope="module")
def memory(blocks: BlockMap) -> BlockMemory:
    return planned(blocks)


def _layers(network: Int8Network) -> Counter:
    return Counter(geometry(call.layer) for call in network.calls)


@pytest.mark.exhaustive
def test_blocks_have_just_the_layers_and_constants_of_the_network(
    blocks: BlockMap, memory: BlockMemory
) -> None:
    archs = SPACE.sample(np.random.default_rng(0), 16)
    assert len(np.unique(archs[:, -2:], axis=0)) >= 6
    constants = memory.flash_kib(archs) * 1024
    for arch, units, flash in zip(archs, blocks.index(archs), constants, strict=True):
        network = unweighted(SPACE.build(arch))
        parts = [unweighted(blocks.units[unit]) for unit in units if unit >= 0]
        assert sum(map(_layers, parts), Counter()) == _layers(network)
        assert flash == flash_bytes(network, simd=True)


def test_arenas_are_about_those_of_whole_networks(memory: BlockMemory) -> None:
    archs = SPACE.sample(np.random.default_rng(1), 24)
    archs = archs[archs[:, -2] > 0]
    told = memory.peak_sram_kib(archs) * 1024
    graphs = [SPACE.build(arch) for arch in archs]
    needed = np.array([arena(unweighted(graph), simd=None).arena_bytes for graph in graphs])
    whole = [replace(graph, patches=None) for graph in graphs]
    unpatched = np.array([arena(unweighted(graph), simd=None).arena_bytes for graph in whole])
    np.testing.assert_allclose(told, needed, rtol=0.1)
    assert min(needed / unpatched) < 0.5


def test_the_least_memory_is_found_among_patches(plain: BlockMap, memory: BlockMemory) -> None:
    least, most = memory.reachable("peak_sram_kib")
    found = memory.peak_sram_kib(SPACE.sample(np.random.default_rng(2), 500))
    assert least.value <= found.min()
    assert most.value >= found.max()
    assert SPACE.decode(least.arch)["patches"] != 1
    assert least.value < 0.9 * planned(plain).reachable("peak_sram_kib")[0].value


@pytest.mark.exhaustive
def test_estimates_count_what_patches_compute_again(plain: BlockMap) -> None:
    device = load_device("stm32f746")

    def macs(graph: Graph) -> float:
        return float(sum(call.layer.macs for call in unweighted(graph).calls))

    on_device = blocks_on(device, plain)
    units = worklist(on_device, device)
    table = LatencyTable(device.id, settings_of(device))
    values = {u.key: Measurement(u.key, macs(u.graph), 0.0, 1, "simulated") for u in units}
    bound = replace(table, units=values).bind(SPACE, on_device)
    archs = SPACE.sample(np.random.default_rng(3), 20)
    needed = [macs(SPACE.build(arch)) / 1e3 for arch in archs]
    np.testing.assert_allclose(bound.cost(archs).mean_ms, needed)
    computed = bound.cost(SPACE.computed(archs)).mean_ms
    in_patches = archs[:, -2] > 0
    assert (bound.cost(archs).mean_ms[in_patches] > computed[in_patches]).all()


def test_other_devices_run_no_patches(plain: BlockMap) -> None:
    assert blocks_on(load_device("cpu"), plain) is plain


def test_too_many_combinations_are_refused_with_what_to_do() -> None:
    space = create(
        "mcunet",
        resolution=(16,),
        widths=(8, 16, 24),
        strides=(1, 1, 1),
        width=(1.0,),
        depth=(1, 2, 3, 4),
        expand=(2,),
        patches=(1, 2, 3),
        patched_stages=(3,),
    )
    with pytest.raises(InputError, match=r"block 'stem' depends on .* cut fewer stages into"):
        PatchedBlocks(BlockMap(space))
