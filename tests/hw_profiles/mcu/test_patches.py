"""Patches make the bytes of the whole map, in less memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hw_profiles.mcu.arena import arena, flash_bytes
from hw_profiles.mcu.codegen import generate, wrong_bytes
from hw_profiles.mcu.layers import Copy
from hw_profiles.mcu.lower import Int8Network
from hw_profiles.mcu.memory import unweighted
from hw_profiles.mcu.patches import best_depth, patch_depths, patched
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor


def _drawn(define: Callable[[Builder, Tensor], Tensor], size: tuple[int, int]) -> Int8Network:
    b = Builder((), {})
    return unweighted(b.graph(define(b, b.input("image", (*size, 3)))))


def _residual(b: Builder, x: Tensor) -> Tensor:
    x = b.activation("act", b.conv("stem", x, 4, 3, 2, bias=True), "hswish")
    y = b.depthwise("dw", b.pointwise("expand", x, 40, bias=True), 5, bias=True)
    x = b.add("add", x, b.pointwise("project", y, 4, bias=True))
    x = b.node("pool", "max_pool", (x,), kernel=3, stride=2, padding=1)
    x = b.node("mean", "avg_pool", (x,), kernel=2, stride=1, padding=1)
    x = b.conv("last", x, 6, 3, bias=True)
    return b.node("global", "global_pool", (x,))


@pytest.mark.parametrize("size", [(23, 17), (16, 32), (11, 11)])
@pytest.mark.parametrize("patches", [1, 2, 3])
def test_patches_are_equal_to_the_whole_at_every_depth(size: tuple[int, int], patches: int) -> None:
    network = _drawn(_residual, size)
    x = np.random.default_rng(0).integers(-128, 128, (*size, 3), np.int8)
    expected = network.reference(x)
    depths = patch_depths(network)
    # Not inside the residual block: there two maps go on.
    assert depths == (1, 2, 6, 7, 8, 9)
    for depth in depths:
        cut = patched(network, depth, patches)
        last = network.calls[depth - 1].makes
        found = cut.reference(x)
        np.testing.assert_array_equal(found[last], expected[last])
        np.testing.assert_array_equal(found["global"], expected["global"])


def test_patches_take_less_memory_and_no_more_weights() -> None:
    network = _drawn(_residual, (48, 48))
    whole = arena(network, simd=None)
    depth = best_depth(network, 3)
    assert depth in (6, 7, 8, 9)
    cut = patched(network, depth, 3)
    assert arena(cut, simd=None).arena_bytes < 0.7 * whole.arena_bytes
    macs = [sum(call.layer.macs for call in one.calls) for one in (network, cut)]
    assert macs[0] < macs[1] < 2 * macs[0]
    copies = sum(isinstance(call.layer, Copy) for call in cut.calls)
    assert copies >= 18
    # Structs of more calls, but the same weights.
    assert flash_bytes(cut, simd=True) - flash_bytes(network, simd=True) < 100 * len(cut.calls)


@pytest.mark.parametrize("core", ["cortex_m7", "rv32imc"])
def test_patches_in_c_make_the_bytes_of_the_whole(core: str, tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    network = _drawn(_residual, (23, 17))
    x = np.random.default_rng(0).integers(-128, 128, (23, 17, 3), np.int8)
    sources = generate(patched(network, 7, 2), x)
    text = generate(network, x).files["test_data.h"]
    assert sources.files["test_data.h"] == text
    for name, data in sources.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert wrong_bytes(tmp_path, core) == 0


def test_what_can_not_be_patched_is_refused_with_what_can() -> None:
    network = _drawn(_residual, (23, 17))
    with pytest.raises(InputError, match="patch depth 3: this network can be cut after 1, 2, 6"):
        patched(network, 3, 2)
    with pytest.raises(InputError, match="13 x 13 patches: the map after 1 layers has 12 x 9"):
        patched(network, 1, 13)
