"""Cycles that a core waits for memory: terms for each layer, beside the issue models.

Issue models know memory that never waits. This adds lines that come from flash, or from cached RAM,
in a model that needs no trace of addresses:

- constants come from flash once if the cache keeps them, else once for each pass over the weights;
- inputs and outputs come once through the cache of RAM;
- where a map is larger than the cache, the depthwise kernel, which goes over it four channels at a
  time, fetches a line for every four bytes.

Code is taken to be kept: loops are small.
"""

from math import prod

from hw_profiles.device import Mcu
from hw_profiles.mcu.constants import DEPTHWISE_CHANNELS, constant_bytes, simd_depthwise
from hw_profiles.mcu.layers import TWO_INPUTS, Conv, Depthwise, Layer, Pointwise

# Columns that the SIMD matrix kernels take in one pass over the weights.
_COLUMNS = 2


def waiting_cycles(layer: Layer, mcu: Mcu, *, simd: bool) -> float:
    """Cycles that the layer's data makes the core wait.

    Args:
        layer: any of them.
        mcu: its caches and waits.
        simd: whether its SIMD kernel runs.
    """
    constant = constant_bytes(layer, simd=simd)
    passes = 1 if constant <= mcu.cache_bytes else _passes(layer, simd)
    flash = passes * constant / mcu.line_bytes * mcu.line_cycles
    return flash + _ram_lines(layer, mcu, simd) * mcu.ram_line_cycles


def _passes(layer: Layer, simd: bool) -> int:
    """How often a kernel reads all its weights."""
    together = _COLUMNS if simd else 1
    if isinstance(layer, Conv):
        return -(-prod(layer.window.out_size) // together)
    if isinstance(layer, Pointwise):
        return -(-layer.positions // together)
    return 1


def _ram_lines(layer: Layer, mcu: Mcu, simd: bool) -> float:
    read, made = prod(layer.in_shape), prod(layer.out_shape)
    if isinstance(layer, Depthwise) and read > mcu.cache_bytes:
        together = DEPTHWISE_CHANNELS if simd and simd_depthwise(layer) else 1
        together = min(together, layer.in_shape[2])
        return (read + made) / max(together, 1)
    if layer.op in TWO_INPUTS:
        read += layer.in_shape[-1]
    return (read + made) / mcu.line_bytes
