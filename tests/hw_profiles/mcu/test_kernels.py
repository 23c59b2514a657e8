"""Every kernel in the emulator against the reference, bit for bit."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from hw_profiles.mcu import kernel_runner, random_layers, reference
from hw_profiles.mcu.core import CORES
from hw_profiles.mcu.layers import (
    LAYERS,
    TWO_INPUTS,
    AveragePool,
    Copy,
    GlobalPool,
    Layer,
    MaxPool,
    Quantization,
    Softmax,
    Window,
)
from hw_profiles.mcu.overlap import distance_below

pytest.importorskip("unicorn")
pytest.importorskip("ziglang")

# Portable C also on a core that has the DSP extension: users may want it there.
BUILDS = [(core.id, simd) for core in CORES.values() for simd in {core.simd, False}]


def _windows(rng: np.random.Generator, n: int) -> Iterator[Window]:
    """Windows of odd shapes, wide and high, padded as TensorFlow does and as graphs do."""
    for _ in range(n):
        kernel, size = rng.integers(1, 8, 2), rng.integers(1, 13, 2)
        stride = rng.integers(1, 4, 2)
        yield Window.same(_pair(size), _pair(kernel), _pair(stride))
        side, pad = int(kernel[0]), int(rng.integers(0, (kernel[0] + 1) // 2))
        if min(size) + 2 * pad >= side:
            yield Window.padded(_pair(size), side, int(stride[0]), pad)


def _squares() -> Iterator[Window]:
    """All that the SIMD depthwise kernel has loops of its own for."""
    sizes = ((5, 5), (8, 7), (9, 12), (13, 4), (3, 1), (1, 9), (2, 69))
    for kernel, stride, size in product((3, 5, 7), (1, 2), sizes):
        yield Window.same(size, (kernel, kernel), (stride, stride))
        for padding in (0, kernel // 2):
            if min(size) + 2 * padding >= kernel:
                yield Window.padded(size, kernel, stride, padding)


def _pair(values: np.ndarray) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def layers(op: str) -> Iterator[Layer]:
    rng = np.random.default_rng(list(LAYERS).index(op))

    def channels(most: int = 12) -> int:
        return int(rng.integers(1, most))

    if op == "conv":
        for window in _windows(rng, 25):
            yield random_layers.conv(rng, window, channels(), channels())
    if op == "depthwise":
        for window in (*_windows(rng, 20), *_squares()):
            layer = random_layers.depthwise(rng, window, channels(10))
            yield layer
            if window.in_size == (5, 5):
                # So small a step of the output shifts to the left.
                step = Quantization(layer.output.scale / 512, layer.output.zero_point)
                large = replace(layer, output=step)
                assert (large.shift >= 0).any()
                yield large
    pools = {"average_pool": AveragePool, "max_pool": MaxPool}
    if op in pools:
        for window in _windows(rng, 15):
            low = int(rng.integers(-128, 0))
            yield pools[op](window, channels(), low, int(rng.integers(low, 128)))
    for size in (1, 2, 3, 4, 7, 30, 33, 64):
        if op == "pointwise":
            for positions in (1, 2, 5):
                yield random_layers.pointwise(rng, positions, size, channels(30))
        if op == "fully_connected":
            yield random_layers.fully_connected(rng, size, channels(30))
        if op == "global_pool":
            yield GlobalPool(size, channels())
        if op == "add":
            yield random_layers.add(rng, size)
        if op == "multiply":
            yield random_layers.multiply(rng, size, channels())
        if op == "table":
            yield random_layers.table(rng, size)
        if op == "copy":
            place, part = (size // 3, size // 5), (size - size // 2, size - size // 3)
            yield Copy((size, size), part, channels(), part, place)
        if op == "softmax":
            yield Softmax(size, Quantization(float(rng.uniform(0.005, 0.5)), 3))


@pytest.mark.parametrize(("core", "simd"), BUILDS)
@pytest.mark.parametrize("op", LAYERS)
def test_a_kernel_is_its_reference(op: str, core: str, simd: bool) -> None:
    runner = kernel_runner.runner(CORES[core], simd)
    rng = np.random.default_rng(7)
    tried = 0
    for layer in layers(op):
        inputs = [random_layers.tensor(rng, layer.in_shape)]
        if op in TWO_INPUTS:
            inputs.append(random_layers.tensor(rng, layer.in_shape[-1:]))
        expected = reference.run(layer, *inputs)
        np.testing.assert_array_equal(runner.run(layer, *inputs).output, expected)
        below = distance_below(layer)
        if below is not None and expected.size - below <= inputs[0].size:
            over = runner.run(layer, *inputs, below=below)
            np.testing.assert_array_equal(over.output, expected)
        tried += 1
    assert tried >= 8


@pytest.mark.parametrize("op", ["conv", "depthwise", "pointwise", "softmax"])
def test_gcc_builds_the_same(op: str) -> None:
    core = CORES["cortex_m7"]
    pytest.importorskip("unicorn")
    if shutil.which(core.gcc[0]) is None:
        pytest.skip(f"{core.gcc[0]} is not installed")
    runner = kernel_runner.runner(core, True, "gcc")
    rng = np.random.default_rng(3)
    for layer in layers(op):
        x = random_layers.tensor(rng, layer.in_shape)
        np.testing.assert_array_equal(runner.run(layer, x).output, reference.run(layer, x))
