"""What is handed to a C kernel beside its tensors: its struct's values, and scratch memory."""

from collections.abc import Callable, Mapping

import numpy as np

from hw_profiles.mcu.layers import (
    Add,
    AveragePool,
    Conv,
    Copy,
    Depthwise,
    FullyConnected,
    GlobalPool,
    Layer,
    MaxPool,
    Multiply,
    Pointwise,
    Softmax,
    Table,
    Window,
)
from hw_profiles.mcu.packing import pack_rows, row_bytes
from hw_profiles.mcu.tables import softmax_exponentials

# A word, or an array of int8 or int32 that a pointer tells the place of.
Constant = int | np.ndarray
# Channels that the SIMD depthwise kernel takes at a time, and outputs of a row.
DEPTHWISE_CHANNELS, DEPTHWISE_OUTPUTS = 4, 4
DEPTHWISE_SIMD = (3, 5, 7)


def constants(layer: Layer, *, simd: bool) -> Mapping[str, Constant]:
    """Values of `hwnas_<op>_params` by their names, in the order of the header.

    Args:
        layer: any of them.
        simd: for a core with the DSP extension, whose kernels want weights in another order.
    """
    return _CONSTANTS[layer.op](layer, simd)


def constant_bytes(layer: Layer, *, simd: bool) -> int:
    """Flash that the struct and its arrays take."""
    values = constants(layer, simd=simd).values()
    return sum(4 + (one.nbytes if isinstance(one, np.ndarray) else 0) for one in values)


def scratch_bytes(layer: Layer, *, simd: bool) -> int:
    """Memory that the kernel needs while it runs: a multiple of 4."""
    if isinstance(layer, Depthwise):
        return _depthwise_scratch(layer, simd)
    if simd and isinstance(layer, Conv):
        # Two columns as they are, and both widened to 16 bits.
        return 6 * row_bytes(layer.weight[0].size)
    if simd and isinstance(layer, Pointwise | FullyConnected):
        return 4 * row_bytes(layer.weight.shape[1])
    return 0


def _depthwise_scratch(layer: Depthwise, simd: bool) -> int:
    kernel_h, kernel_w = layer.window.kernel
    stride, out_w = layer.window.stride[1], layer.window.out_size[1]
    if not (simd and simd_depthwise(layer)):
        return -(-kernel_h * ((out_w - 1) * stride + kernel_w) * 2 // 4) * 4
    rounded = -(-out_w // DEPTHWISE_OUTPUTS) * DEPTHWISE_OUTPUTS
    words = ((rounded - 1) * stride + kernel_w + 2) // 2
    weights = kernel_h * (kernel_w + 1)
    return 4 * DEPTHWISE_CHANNELS * (kernel_h * words + weights)


def simd_depthwise(layer: Depthwise) -> bool:
    """Whether the SIMD kernel has a loop of its own for this window; others run in plain C."""
    kernel, stride = layer.window.kernel, layer.window.stride
    square = kernel[0] == kernel[1] and stride[0] == stride[1]
    return square and kernel[0] in DEPTHWISE_SIMD and stride[0] in (1, 2)


def _window(window: Window) -> dict[str, Constant]:
    return {
        "in_h": window.in_size[0],
        "in_w": window.in_size[1],
        "out_h": window.out_size[0],
        "out_w": window.out_size[1],
        "kernel_h": window.kernel[0],
        "kernel_w": window.kernel[1],
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "pad_top": window.pad[0],
        "pad_left": window.pad[1],
    }


def _weighted(
    layer: Conv | Depthwise | Pointwise | FullyConnected, weight: np.ndarray
) -> dict[str, Constant]:
    return {
        "in_zero": layer.input.zero_point,
        "out_zero": layer.output.zero_point,
        "low": layer.low,
        "high": layer.high,
        "weight": weight,
        "bias": layer.folded_bias,
        "multiplier": layer.multiplier,
        "shift": layer.shift,
    }


def _conv(layer: Conv, simd: bool) -> dict[str, Constant]:
    rows = np.ascontiguousarray(layer.weight).reshape(layer.weight.shape[0], -1)
    return {
        **_window(layer.window),
        "in_c": layer.weight.shape[3],
        "out_c": layer.weight.shape[0],
        **_weighted(layer, pack_rows(rows) if simd else rows),
    }


def _depthwise(layer: Depthwise, _simd: bool) -> dict[str, Constant]:
    weight = np.ascontiguousarray(layer.weight.transpose(2, 0, 1))
    return {
        **_window(layer.window),
        "channels": layer.weight.shape[2],
        **_weighted(layer, weight),
    }


def _matrix(layer: Pointwise | FullyConnected, simd: bool) -> dict[str, Constant]:
    rows = np.ascontiguousarray(layer.weight)
    return {
        "positions": layer.positions if isinstance(layer, Pointwise) else 1,
        "in_c": layer.weight.shape[1],
        "out_c": layer.weight.shape[0],
        **_weighted(layer, pack_rows(rows) if simd else rows),
    }


def _pool(layer: AveragePool | MaxPool, _simd: bool) -> dict[str, Constant]:
    bounds = {"channels": layer.channels, "low": layer.low, "high": layer.high}
    return {**_window(layer.window), **bounds}


def _global_pool(layer: GlobalPool, _simd: bool) -> dict[str, Constant]:
    return {"positions": layer.positions, "channels": layer.channels}


def _zeros(layer: Add | Multiply) -> dict[str, Constant]:
    return {
        "first_zero": layer.first.zero_point,
        "second_zero": layer.second.zero_point,
        "out_zero": layer.output.zero_point,
        "low": layer.low,
        "high": layer.high,
    }


def _add(layer: Add, _simd: bool) -> dict[str, Constant]:
    names = ("first", "second", "out")
    factors: dict[str, Constant] = {}
    for name, (multiplier, shift) in zip(names, layer.factors, strict=True):
        factors |= {f"{name}_multiplier": multiplier, f"{name}_shift": shift}
    return {"size": layer.size, **_zeros(layer), **factors}


def _multiply(layer: Multiply, _simd: bool) -> dict[str, Constant]:
    multiplier, shift = layer.factor
    shape = {"positions": layer.positions, "channels": layer.channels}
    return {**shape, **_zeros(layer), "multiplier": multiplier, "shift": shift}


def _table(layer: Table, _simd: bool) -> dict[str, Constant]:
    return {"size": layer.size, "table": layer.table}


def _softmax(layer: Softmax, _simd: bool) -> dict[str, Constant]:
    return {"size": layer.size, "exponentials": softmax_exponentials(layer.input.scale)}


def _copy(layer: Copy, _simd: bool) -> dict[str, Constant]:
    starts = [
        (place[0] * size[1] + place[1]) * layer.channels
        for place, size in ((layer.from_place, layer.in_size), (layer.to_place, layer.out_size))
    ]
    return {
        "rows": layer.size[0],
        "row_bytes": layer.size[1] * layer.channels,
        "in_start": starts[0],
        "in_stride": layer.in_size[1] * layer.channels,
        "out_start": starts[1],
        "out_stride": layer.out_size[1] * layer.channels,
    }


_CONSTANTS: Mapping[str, Callable[..., Mapping[str, Constant]]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "pointwise": _matrix,
    "fully_connected": _matrix,
    "average_pool": _pool,
    "max_pool": _pool,
    "global_pool": _global_pool,
    "add": _add,
    "multiply": _multiply,
    "table": _table,
    "softmax": _softmax,
    "copy": _copy,
}
