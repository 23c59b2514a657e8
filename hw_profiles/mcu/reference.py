"""Layers in numpy, bit for bit as TensorFlow Lite's reference kernels compute them.

Sources: `kernels/internal/reference/integer_ops/{conv,depthwise_conv,fully_connected,pooling,add,
mul}.h` and `reference/softmax.h` of TensorFlow Lite, which TensorFlow Lite Micro shares.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int, Int8

from hw_profiles.mcu.fixed_point import (
    divide_rounding,
    doubling_high_multiply,
    multiply,
    reciprocal,
    rounding_divide_by_power,
)
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
from hw_profiles.mcu.tables import softmax_exponentials

Tensor = Int8[np.ndarray, "..."]


def run(layer: Layer, *inputs: Tensor) -> Tensor:
    """What the layer makes of its inputs.

    Args:
        layer: any of them.
        inputs: of the sizes that the layer tells; flat ones will do.

    Returns:
        Of shape `layer.out_shape`.
    """
    return _REFERENCES[layer.op](layer, *inputs).astype(np.int8).reshape(layer.out_shape)


def windows(x: np.ndarray, window: Window, fill: int) -> Int[np.ndarray, "h w kh kw c"]:
    """What each output of a window reads of a (h, w, c) map."""
    top, left = window.pad
    reach = [
        (out - 1) * stride + kernel
        for out, stride, kernel in zip(window.out_size, window.stride, window.kernel, strict=True)
    ]
    # What no window reads stays outside.
    wide = np.full((*reach, x.shape[2]), fill, np.int64)
    rows, columns = (
        min(size, length - pad)
        for size, length, pad in zip(window.in_size, reach, window.pad, strict=True)
    )
    wide[top : top + rows, left : left + columns] = x[:rows, :columns]
    view = np.lib.stride_tricks.sliding_window_view(wide, window.kernel, axis=(0, 1))
    return view[:: window.stride[0], :: window.stride[1]].transpose(0, 1, 3, 4, 2)


def _requantized(
    layer: Conv | Depthwise | Pointwise | FullyConnected, sums: np.ndarray
) -> np.ndarray:
    scaled = multiply(sums + layer.folded_bias, layer.multiplier, layer.shift)
    return np.clip(scaled + layer.output.zero_point, layer.low, layer.high)


def _conv(layer: Conv, x: Tensor) -> np.ndarray:
    read = windows(x.reshape(layer.in_shape), layer.window, layer.input.zero_point)
    # In float64 exact: sums stay below 2^30. And fast, as it is a BLAS call.
    weight = layer.weight.reshape(layer.weight.shape[0], -1).astype(np.float64)
    columns = read.reshape(-1, weight.shape[1]).astype(np.float64)
    return _requantized(layer, (columns @ weight.T).astype(np.int64))


def _depthwise(layer: Depthwise, x: Tensor) -> np.ndarray:
    read = windows(x.reshape(layer.in_shape), layer.window, layer.input.zero_point)
    return _requantized(layer, (read * layer.weight.astype(np.int64)).sum(axis=(2, 3)))


def _matrix(layer: Pointwise | FullyConnected, x: Tensor) -> np.ndarray:
    rows = x.reshape(-1, layer.weight.shape[1]).astype(np.float64)
    return _requantized(layer, (rows @ layer.weight.T.astype(np.float64)).astype(np.int64))


def _average_pool(layer: AveragePool, x: Tensor) -> np.ndarray:
    x = x.reshape(layer.in_shape)
    sums = windows(x, layer.window, 0).sum(axis=(2, 3))
    counts = windows(np.ones_like(x), layer.window, 0).sum(axis=(2, 3))
    return np.clip(divide_rounding(sums, counts), layer.low, layer.high)


def _max_pool(layer: MaxPool, x: Tensor) -> np.ndarray:
    largest = windows(x.reshape(layer.in_shape), layer.window, -128).max(axis=(2, 3))
    return np.clip(largest, layer.low, layer.high)


def _global_pool(layer: GlobalPool, x: Tensor) -> np.ndarray:
    sums = x.reshape(layer.in_shape).sum(axis=0, dtype=np.int64)
    return divide_rounding(sums, layer.positions)


def _add(layer: Add, first: Tensor, second: Tensor) -> np.ndarray:
    of_first, of_second, of_sum = layer.factors

    def scaled(x: Tensor, zero_point: int, factor: tuple[int, int]) -> np.ndarray:
        return multiply((x.astype(np.int64) - zero_point) << layer.left_shift, *factor)

    total = scaled(first, layer.first.zero_point, of_first)
    total = total + scaled(second, layer.second.zero_point, of_second)
    return np.clip(multiply(total, *of_sum) + layer.output.zero_point, layer.low, layer.high)


def _multiply(layer: Multiply, first: Tensor, second: Tensor) -> np.ndarray:
    product = (first.reshape(layer.in_shape).astype(np.int64) - layer.first.zero_point) * (
        second.reshape(-1).astype(np.int64) - layer.second.zero_point
    )
    scaled = multiply(product, *layer.factor)
    return np.clip(scaled + layer.output.zero_point, layer.low, layer.high)


def _table(layer: Table, x: Tensor) -> np.ndarray:
    return layer.table[x.astype(np.int64) + 128]


def _softmax(layer: Softmax, x: Tensor) -> np.ndarray:
    exponentials = softmax_exponentials(layer.input.scale)[x.max() - x.astype(np.int64)]
    # Twelve bits before the point hold the sum of 4,096 values.
    total = int(rounding_divide_by_power(exponentials, 12).sum())
    scale, over_unit = reciprocal(total, 12)
    shares = rounding_divide_by_power(doubling_high_multiply(exponentials, scale), over_unit + 23)
    return np.clip(np.where(exponentials > 0, shares - 128, -128), -128, 127)


def _copy(layer: Copy, x: Tensor) -> np.ndarray:
    """The rest of the map is 0."""
    read, written = layer.parts
    out = np.zeros(layer.out_shape, np.int8)
    out[written] = x.reshape(layer.in_shape)[read]
    return out


_REFERENCES: Mapping[str, Callable[..., np.ndarray]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "pointwise": _matrix,
    "fully_connected": _matrix,
    "average_pool": _average_pool,
    "max_pool": _max_pool,
    "global_pool": _global_pool,
    "add": _add,
    "multiply": _multiply,
    "table": _table,
    "softmax": _softmax,
    "copy": _copy,
}
