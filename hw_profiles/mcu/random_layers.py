"""Layers with random weights, for tests and for timing: no time depends on the values."""

from collections.abc import Sequence

import numpy as np

from hw_profiles.mcu.layers import (
    HIGHEST,
    LOWEST,
    Add,
    Conv,
    Depthwise,
    FullyConnected,
    Multiply,
    Pointwise,
    Quantization,
    Table,
    Window,
)


def conv(rng: np.random.Generator, window: Window, c_in: int, c_out: int) -> Conv:
    """Any convolution."""
    weight = _weight(rng, (c_out, *window.kernel, c_in))
    return Conv(*_around(rng, weight, c_out), window=window, **_clamp(rng))


def depthwise(rng: np.random.Generator, window: Window, channels: int) -> Depthwise:
    """A filter for each channel."""
    weight = _weight(rng, (*window.kernel, channels))
    return Depthwise(*_around(rng, weight, channels), window=window, **_clamp(rng))


def pointwise(rng: np.random.Generator, positions: int, c_in: int, c_out: int) -> Pointwise:
    """A matrix for each position."""
    weight = _weight(rng, (c_out, c_in))
    return Pointwise(*_around(rng, weight, c_out), positions=positions, **_clamp(rng))


def fully_connected(rng: np.random.Generator, c_in: int, c_out: int) -> FullyConnected:
    """A matrix."""
    return FullyConnected(*_around(rng, _weight(rng, (c_out, c_in)), c_out), **_clamp(rng))


def add(rng: np.random.Generator, size: int) -> Add:
    """A sum."""
    first, second, output = (_quantization(rng) for _ in range(3))
    return Add(size, first, second, output, **_clamp(rng))


def multiply(rng: np.random.Generator, positions: int, channels: int) -> Multiply:
    """A map times a factor for each channel."""
    first, second = _quantization(rng), _quantization(rng)
    largest = 128 * 128 * first.scale * second.scale
    output = Quantization(largest / rng.uniform(60, 300), int(rng.integers(-128, 128)))
    return Multiply(positions, channels, first, second, output, **_clamp(rng))


def table(rng: np.random.Generator, size: int) -> Table:
    """Any function."""
    return Table(size, tensor(rng, (256,)))


def tensor(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Activations of all values."""
    return rng.integers(LOWEST, HIGHEST + 1, tuple(shape), np.int8)


def _weight(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-127, 128, shape, np.int8)


def _quantization(rng: np.random.Generator) -> Quantization:
    return Quantization(float(rng.uniform(0.01, 0.1)), int(rng.integers(-128, 128)))


def _clamp(rng: np.random.Generator) -> dict[str, int]:
    """Half of them with a bound as a ReLU's."""
    if rng.random() < 0.5:
        return {}
    low = int(rng.integers(-128, 0))
    return {"low": low, "high": int(rng.integers(low, 128))}


def _around(
    rng: np.random.Generator, weight: np.ndarray, features: int
) -> tuple[Quantization, Quantization, np.ndarray, np.ndarray, np.ndarray]:
    """Scales under which outputs fill some of int8, and cut some off."""
    source = _quantization(rng)
    fan_in = weight.size // features
    scale = rng.uniform(0.2, 1.0, features).astype(np.float32) * np.float32(0.01)
    # A sum of random products has this standard deviation, in real numbers.
    deviation = source.scale * 0.006 * 73 * 74 * np.sqrt(fan_in)
    output = Quantization(deviation / rng.uniform(30, 100), int(rng.integers(-128, 128)))
    bias = rng.normal(0, 73 * 74 * np.sqrt(fan_in), features).astype(np.int32)
    return source, output, weight, scale, bias
