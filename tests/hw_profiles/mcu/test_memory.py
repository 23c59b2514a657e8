from collections.abc import Callable
from functools import cached_property

import numpy as np
import pytest

from hw_profiles.mcu.arena import arena, flash_bytes
from hw_profiles.mcu.memory import planned, unweighted
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.space import Knob, SearchSpace

Spaces = Callable[[str], SearchSpace]


@pytest.mark.parametrize("name", ["mobilenet_v3", "nasbench_macro"])
def test_blocks_tell_what_whole_networks_need(small_space: Spaces, name: str) -> None:
    space = small_space(name)
    memory = planned(BlockMap(space))
    rng = np.random.default_rng(0)
    archs = space.canonical(rng.integers(0, space.cardinality, (12, len(space.knobs))))
    networks = [unweighted(space.build(arch)) for arch in archs]
    plans = [arena(network, simd=None) for network in networks]
    needed = [plan.arena_bytes / 1024 for plan in plans]
    np.testing.assert_allclose(memory.peak_sram_kib(archs), needed)
    assert all(plan.optimal for plan in plans)
    constants = [flash_bytes(network, simd=True) / 1024 for network in networks]
    np.testing.assert_allclose(memory.flash_kib(archs), constants)


@pytest.mark.parametrize("metric", ["peak_sram_kib", "flash_kib"])
def test_the_extremes_are_those_of_all_architectures(small_space: Spaces, metric: str) -> None:
    space = small_space("nasbench_macro")
    memory = planned(BlockMap(space))
    grid = np.stack(np.meshgrid(*map(np.arange, space.cardinality[:5]), indexing="ij"), -1)
    rest = np.random.default_rng(0).integers(0, 3, (grid.size // 5, len(space.knobs) - 5))
    archs = space.canonical(np.concatenate([grid.reshape(-1, 5), rest], axis=1))
    found = getattr(memory, metric)(archs)
    least, most = memory.reachable(metric)
    assert least.value <= found.min()
    assert most.value >= found.max()
    for extreme in (least, most):
        np.testing.assert_allclose(getattr(memory, metric)(extreme.arch[None])[0], extreme.value)


class _Skipping(SearchSpace):
    name, version = "skipping", 1

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        return (Knob("width", (4, 8)),)

    def define(self, b: Builder) -> Tensor:
        x = b.input("image", (8, 8, 3))
        with b.block("a"):
            first = b.conv("conv", x, 8, 3)
        with b.block("b"):
            x = b.pointwise("mix", b.pointwise("wide", first, int(b.pick("width"))), 8)
        with b.block("c"):
            x = b.pointwise("mix", x, 8)
        with b.block("d"):
            return b.add("add", first, x)


def test_a_space_whose_blocks_are_no_chain_is_refused() -> None:
    with pytest.raises(InputError, match="block 'd' reads 'a/conv' of a block that"):
        planned(BlockMap(_Skipping()))
