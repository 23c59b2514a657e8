"""An int8 network on thousands of images: the references' arithmetic in JAX, bit for bit.

Products of convolutions are summed in float32, which is exact below 2^24: sums are cut into parts
of at most 1,032 products of 8 bits. The scaling needs 64 bits.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int8

from hw_profiles.mcu.layers import (
    Add,
    AveragePool,
    Conv,
    Copy,
    Depthwise,
    FullyConnected,
    GlobalPool,
    MaxPool,
    Multiply,
    Pointwise,
    Softmax,
    Table,
    Window,
)
from hw_profiles.mcu.lower import Call, Int8Network
from hw_profiles.mcu.tables import softmax_exponentials

_BATCH = 64
_INT32 = (-(1 << 31), (1 << 31) - 1)
_EXACT_PRODUCTS = (1 << 24) // (127 * 128)

Images = Int8[np.ndarray, "n h w c"]
Outputs = Int8[np.ndarray, "n ..."]


def runner(network: Int8Network) -> Callable[[Images], Outputs]:
    """The network, compiled once: from any number of int8 images to its output."""
    (image,), (output,) = network.inputs, network.outputs
    one = jax.ShapeDtypeStruct((_BATCH, *network.shapes[image]), jnp.int8)
    with jax.enable_x64(True):
        program = jax.jit(lambda x: _forward(network, x)).lower(one).compile()

    def run(images: Images) -> Outputs:
        made = [np.zeros((0, *network.shapes[output]), np.int8)]
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            padded = np.zeros(one.shape, np.int8)
            padded[: len(part)] = part
            with jax.enable_x64(True):
                made.append(np.asarray(program(jnp.asarray(padded)))[: len(part)])
        return np.concatenate(made)

    return run


def _forward(network: Int8Network, images: Array) -> Array:
    (image,), (output,) = network.inputs, network.outputs
    values = {image: images}
    for call in network.calls:
        xs = [values[name].reshape(len(images), *network.shapes[name]) for name in call.reads]
        if isinstance(call.layer, Copy):
            made = _copy(call.layer, xs[0], values.get(call.makes))
        else:
            made = _FORWARD[call.layer.op](call, *xs)
        values[call.makes] = made.reshape(len(images), *network.shapes[call.makes])
    return values[output]


def _copy(layer: Copy, x: Array, out: Array | None) -> Array:
    read, written = layer.parts
    if out is None:
        out = jnp.zeros((x.shape[0], *layer.out_shape), jnp.int8)
    return out.at[:, *written].set(x[:, *read])


def _wide(x: Array) -> Array:
    return x.astype(jnp.int64)


def _constant(x: Any) -> Array:
    return jnp.asarray(np.asarray(x), jnp.int64)


def _high(a: Array, b: Array) -> Array:
    """`fixed_point.doubling_high_multiply`."""
    return jnp.clip((a * b + _constant(1 << 30)) >> _constant(31), *_INT32)


def _divided(x: Array, exponent: Array) -> Array:
    """`fixed_point.rounding_divide_by_power`."""
    mask = (jnp.ones_like(exponent) << exponent) - 1
    more = (x & mask) > (mask >> 1) + _wide(x < 0)
    return (x >> exponent) + _wide(more)


def _scaled(x: Array, multiplier: Any, shift: Any) -> Array:
    """`fixed_point.multiply`."""
    shift = np.asarray(shift)
    left, right = _constant(np.maximum(shift, 0)), _constant(np.maximum(-shift, 0))
    return _divided(_high(x << left, _constant(multiplier)), right)


def _clamped(x: Array, low: int, high: int) -> Array:
    return jnp.clip(x, low, high).astype(jnp.int8)


def _requantized(layer: Conv | Depthwise | Pointwise | FullyConnected, sums: Array) -> Array:
    made = _scaled(_wide(sums) + _per_channel(layer.folded_bias, sums), *_factors(layer, sums))
    return _clamped(made + _constant(layer.output.zero_point), layer.low, layer.high)


def _factors(layer: Any, like: Array) -> tuple[np.ndarray, np.ndarray]:
    shape = (1,) * (like.ndim - 1) + (-1,)
    return layer.multiplier.reshape(shape), layer.shift.reshape(shape)


def _per_channel(vector: np.ndarray, like: Array) -> Array:
    return _constant(vector.reshape((1,) * (like.ndim - 1) + (-1,)))


def _padded(x: Array, window: Window, fill: int) -> Array:
    """What the windows read, and no more."""
    reach = [
        (out - 1) * stride + kernel
        for out, stride, kernel in zip(window.out_size, window.stride, window.kernel, strict=True)
    ]
    edges = [
        (pad, length - pad - size, 0)
        for pad, length, size in zip(window.pad, reach, window.in_size, strict=True)
    ]
    return lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def _shifted(x: Array, window: Window, i: int, j: int) -> Array:
    """What every window reads at its place (i, j)."""
    n, _, _, channels = x.shape
    ends = [
        start + (out - 1) * stride + 1
        for start, out, stride in zip((i, j), window.out_size, window.stride, strict=True)
    ]
    return lax.slice(x, (0, i, j, 0), (n, *ends, channels), (1, *window.stride, 1))


def _conv(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    kernel_h, kernel_w = layer.window.kernel
    x = _padded(x, layer.window, layer.input.zero_point)
    weight = layer.weight.transpose(1, 2, 3, 0).astype(np.float32)
    together = max(1, _EXACT_PRODUCTS // (kernel_h * kernel_w))
    sums = jnp.zeros((), jnp.int64)
    for start in range(0, x.shape[-1], together):
        part = slice(start, start + together)
        total = lax.conv_general_dilated(
            x[..., part].astype(jnp.float32),
            jnp.asarray(weight[:, :, part]),
            layer.window.stride,
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=lax.Precision.HIGHEST,
        )
        sums = jnp.broadcast_to(sums, total.shape) + _wide(total)
    return _requantized(layer, sums)


def _depthwise(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    x = _padded(x, layer.window, layer.input.zero_point).astype(jnp.int32)
    kernel_h, kernel_w = layer.window.kernel
    places = [(i, j) for i in range(kernel_h) for j in range(kernel_w)]
    weight = layer.weight.astype(np.int32)[None, None, None]
    sums = sum(_shifted(x, layer.window, i, j) * weight[:, :, :, i, j] for i, j in places)
    return _requantized(layer, jnp.asarray(sums))


def _matrix(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    channels = layer.weight.shape[1]
    x = x.reshape(x.shape[0], -1, channels)
    weight = layer.weight.T.astype(np.float32)
    sums = jnp.zeros((), jnp.int64)
    for start in range(0, channels, _EXACT_PRODUCTS):
        part = slice(start, start + _EXACT_PRODUCTS)
        rows, columns = x[..., part].astype(jnp.float32), jnp.asarray(weight[part])
        total = jnp.matmul(rows, columns, precision=lax.Precision.HIGHEST)
        sums = jnp.broadcast_to(sums, total.shape) + _wide(total)
    return _requantized(layer, sums)


def _mean(total: Array, count: Array) -> Array:
    """`fixed_point.divide_rounding`."""
    count = jnp.broadcast_to(count, total.shape)
    magnitude = (jnp.abs(total) + count // 2) // count
    return jnp.where(total > 0, magnitude, -magnitude)


def _average_pool(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    window = layer.window
    places = [(i, j) for i in range(window.kernel[0]) for j in range(window.kernel[1])]
    wide = _padded(_wide(x), window, 0)
    ones = _padded(jnp.ones((1, *window.in_size, 1), jnp.int64), window, 0)
    total, count = (
        jnp.asarray(sum(_shifted(map_, window, i, j) for i, j in places)) for map_ in (wide, ones)
    )
    return _clamped(_mean(total, count), layer.low, layer.high)


def _max_pool(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    window = layer.window
    wide = _padded(x, window, -128)
    largest = _shifted(wide, window, 0, 0)
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            largest = jnp.maximum(largest, _shifted(wide, window, i, j))
    return _clamped(largest, layer.low, layer.high)


def _global_pool(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    total = _wide(x).reshape(x.shape[0], layer.positions, layer.channels).sum(1)
    return _clamped(_mean(total, _constant(layer.positions)), -128, 127)


def _add(call: Call, first: Array, second: Array) -> Array:
    layer: Any = call.layer
    of_first, of_second, of_sum = layer.factors
    raised = [
        (_wide(x) - _constant(kind.zero_point)) << _constant(layer.left_shift)
        for x, kind in ((first, layer.first), (second, layer.second))
    ]
    total = _scaled(raised[0], *of_first) + _scaled(raised[1], *of_second)
    made = _scaled(total, *of_sum) + _constant(layer.output.zero_point)
    return _clamped(made, layer.low, layer.high)


def _multiply(call: Call, first: Array, second: Array) -> Array:
    layer: Any = call.layer
    first = _wide(first).reshape(first.shape[0], layer.positions, layer.channels)
    second = _wide(second).reshape(second.shape[0], 1, layer.channels)
    product = (first - _constant(layer.first.zero_point)) * (
        second - _constant(layer.second.zero_point)
    )
    made = _scaled(product, *layer.factor) + _constant(layer.output.zero_point)
    return _clamped(made, layer.low, layer.high)


def _table(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    return jnp.asarray(layer.table)[x.astype(jnp.int32) + 128]


def _softmax(call: Call, x: Array) -> Array:
    layer: Any = call.layer
    x = _wide(x).reshape(x.shape[0], layer.size)
    exponentials = _constant(softmax_exponentials(layer.input.scale))[x.max(1, keepdims=True) - x]
    total = _divided(exponentials, _constant(12)).sum(1, keepdims=True)
    bits = _constant(np.arange(32)).reshape(1, 1, 32)
    headroom = _constant(32) - _wide(total[..., None] >> bits > 0).sum(-1)
    rest = (total << headroom & _constant(0xFFFFFFFF)) - _constant(1 << 31)
    shares = _divided(_high(exponentials, _one_over_one_plus(rest)), _constant(35) - headroom)
    return _clamped(jnp.where(exponentials > 0, shares - 128, -128), -128, 127)


def _one_over_one_plus(a: Array) -> Array:
    """`fixed_point.reciprocal` of a raw value in [0, 1)."""
    half = (a + _constant(1 << 31)) >> 1
    x = _constant(1515870810) + _high(half, _constant(-1010580540))
    for _ in range(3):
        x = x + jnp.clip(_high(x, _constant(1 << 29) - _high(half, x)) << 2, *_INT32)
    return jnp.clip(x << 1, *_INT32)


_FORWARD: Mapping[str, Callable[..., Array]] = {
    Conv.op: _conv,
    Depthwise.op: _depthwise,
    Pointwise.op: _matrix,
    FullyConnected.op: _matrix,
    AveragePool.op: _average_pool,
    MaxPool.op: _max_pool,
    GlobalPool.op: _global_pool,
    Add.op: _add,
    Multiply.op: _multiply,
    Table.op: _table,
    Softmax.op: _softmax,
}
