"""Depthwise convolution as Pallas kernels for TPUs: shifted maps times a tap, summed in registers.

Images lie in the sublanes and channels in the lanes, so that a tap is a shift along axes that are
not tiled: it costs an address. With a stride the map is first cut into its phases, for the same
reason; XLA does both, and the padding, in one copy. Kernel size and channels that live are
prefetched scalars: dead taps are not visited, and blocks of dead channels are neither fetched,
since their index is clamped to the last live block, nor multiplied.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu
from jaxtyping import Float, Int

from kernels.depthwise_conv.correlations import Correlations, Window
from kernels.epilogue import finish
from kernels.tiles import tiles

_LANES = 128
T = TypeVar("T")
Index = Callable[..., tuple[Array, Array, Array]]


def _fetched(block: Array, live_ref) -> Array:
    """A block of channels, or the last in which something lives."""
    return jnp.minimum(block, jnp.maximum(pl.cdiv(live_ref[1], _LANES) - 1, 0))


def _images(x: Array) -> int:
    """Images in a block: those of a tile."""
    return 32 // x.dtype.itemsize


def _rows(size: int, window: Window) -> tuple[int, int]:
    """Rows of the result in a block, and how many blocks: fast memory holds two of everything."""
    block_bytes = tiles("depthwise_conv", "pallas_tpu")["block_kib"] * 1024
    reach = (size - 1) // window.stride
    row_bytes = (window.out[1] + reach) * window.stride**2 * 32 * _LANES
    most = max(1, block_bytes // row_bytes - reach)
    blocks = pl.cdiv(window.out[0], most)
    return pl.cdiv(window.out[0], blocks), blocks


def _cut(
    x: Float[Array, "n h w c"], size: int, window: Window, height: int
) -> Float[Array, "phases h2 w2 n2 c2"]:
    """Pixel `(y * stride + i, ...)` at phase i, place y, enough of them for `height` results.

    Images and channels are filled up to whole tiles, which take no more memory than broken ones.
    """
    stride, reach = window.stride, (size - 1) // window.stride
    shape = [height + reach, window.out[1] + reach]
    edges = []
    for edge, places in zip(x.shape[1:3], shape, strict=True):
        whole = window.padding + (edge - 1) * window.spacing + 1
        edges.append((window.padding, places * stride - whole, window.spacing - 1))
    fill = ((0, -size % tile, 0) for size, tile in ((x.shape[0], _images(x)), (x.shape[3], _LANES)))
    first, last = fill
    x = lax.pad(x, jnp.zeros((), x.dtype), (first, *edges, last))
    n, *_, channels = x.shape
    x = x.reshape(n, shape[0], stride, shape[1], stride, channels).transpose(2, 4, 1, 3, 0, 5)
    return x.reshape(stride * stride, *shape, n, channels)


def _cut_spec(maps: Array, rows: int, reach: int, images: int, index: Index) -> pl.BlockSpec:
    """Blocks of rows that overlap, so that places are given in elements; `index` in blocks."""

    def place(*grid) -> tuple[Array | int, ...]:
        row, image, channel = index(*grid)
        return 0, row * rows, 0, image * images, channel * _LANES

    shape = (maps.shape[0], rows + reach, maps.shape[2], images, _LANES)
    return pl.BlockSpec(tuple(pl.Element(size) for size in shape), place)


def _correlate(
    x: Float[Array, "n h w c"],
    weight: Float[Array, "k k c"],
    live: Int[Array, "2"],
    window: Window,
    bias: Float[Array, " c"] | None,
    activation: str,
    interpret: bool,
) -> Float[Array, "n oh ow c"]:
    """See `correlations.Correlations`."""
    size, n, channels = weight.shape[0], x.shape[0], x.shape[3]
    tile = tiles("depthwise_conv", "pallas_tpu")
    images = _images(x)
    rows, blocks = _rows(size, window)
    maps = _cut(x, size, window, rows * blocks)
    reach = (size - 1) // window.stride

    operands = [maps, weight.reshape(size * size, 1, channels)]
    in_specs = [
        _cut_spec(maps, rows, reach, images, lambda b, r, c, s: (r, b, _fetched(c, s))),
        pl.BlockSpec((size * size, 1, _LANES), lambda b, r, c, s: (0, 0, _fetched(c, s))),
    ]
    if bias is not None:
        operands.append(bias[None, None, :])
        in_specs.append(pl.BlockSpec((1, 1, _LANES), lambda b, r, c, s: (0, 0, c)))
    y = pl.pallas_call(
        partial(
            _correlate_kernel,
            stride=window.stride,
            size=size,
            strip=tile["columns"],
            activation=activation,
        ),
        out_shape=jax.ShapeDtypeStruct((*window.out, n, channels), x.dtype),
        grid_spec=tpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(pl.cdiv(n, images), blocks, pl.cdiv(channels, _LANES)),
            in_specs=in_specs,
            out_specs=pl.BlockSpec(
                (rows, window.out[1], images, _LANES), lambda b, r, c, s: (r, 0, b, c)
            ),
        ),
        compiler_params=tpu.CompilerParams(
            dimension_semantics=("parallel",) * 3, vmem_limit_bytes=tile["vmem_kib"] * 1024
        ),
        interpret=interpret,
        name="depthwise_conv",
    )(live, *operands)
    return y.transpose(2, 0, 1, 3)


def _correlate_kernel(
    live_ref, x_ref, weight_ref, *rest, stride: int, size: int, strip: int, activation: str
) -> None:
    *bias_ref, y_ref = rest
    rows, width, images, _ = y_ref.shape
    first = pl.program_id(2) * _LANES
    lives = first + lax.broadcasted_iota(jnp.int32, (1, 1, _LANES), 2) < live_ref[1]
    bias = bias_ref[0][...].astype(jnp.float32) if bias_ref else jnp.zeros((1, 1, _LANES))

    def one(row: Array, start: int, count: int) -> None:
        def add(i: Array, j: Array, total: Array) -> Array:
            pixels = _met(x_ref, i, j, stride, row, start, count)
            return total + pixels * weight_ref[i * size + j].astype(jnp.float32)[None]

        zero = jnp.zeros((count, images, _LANES), jnp.float32)
        total = _over_taps(live_ref, size, first, add, zero)
        # What lies in dead channels may be NaN, which no zero weight clears.
        total = jnp.where(lives, total, jnp.float32(0))
        y = finish(total + bias, None, activation)
        y_ref[row, pl.ds(start, count)] = y.astype(y_ref.dtype)

    _for_strips(rows, width, strip, one)


def _products(
    x: Float[Array, "n h w c"],
    g: Float[Array, "n oh ow c"],
    live: Int[Array, "2"],
    size: int,
    window: Window,
    interpret: bool,
) -> Float[Array, "k k c"]:
    """For each tap the sum of what it meets times the gradient; sublanes are summed by XLA."""
    n, channels = x.shape[0], x.shape[3]
    tile = tiles("depthwise_conv", "pallas_tpu")
    images = _images(x)
    rows, blocks = _rows(size, window)
    maps = _cut(x, size, window, rows * blocks)
    reach = (size - 1) // window.stride
    below = rows * blocks - window.out[0]
    g = jnp.pad(g.transpose(1, 2, 0, 3), ((0, below), (0, 0), (0, 0), (0, 0)))

    found = pl.pallas_call(
        partial(_products_kernel, stride=window.stride, size=size, strip=tile["columns"], n=n),
        out_shape=jax.ShapeDtypeStruct((size * size, images, channels), jnp.float32),
        grid_spec=tpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(pl.cdiv(channels, _LANES), pl.cdiv(n, images), blocks),
            in_specs=[
                _cut_spec(maps, rows, reach, images, lambda c, b, r, s: (r, b, _fetched(c, s))),
                pl.BlockSpec(
                    (rows, window.out[1], images, _LANES),
                    lambda c, b, r, s: (r, 0, b, _fetched(c, s)),
                ),
            ],
            out_specs=pl.BlockSpec((size * size, images, _LANES), lambda c, b, r, s: (0, 0, c)),
        ),
        compiler_params=tpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"),
            vmem_limit_bytes=tile["vmem_kib"] * 1024,
        ),
        interpret=interpret,
        name="depthwise_conv_weight_gradient",
    )(live, maps, g)
    return jnp.sum(found, 1).reshape(size, size, channels)


def _products_kernel(
    live_ref, x_ref, g_ref, out_ref, *, stride: int, size: int, strip: int, n: int
) -> None:
    rows, width, images, _ = g_ref.shape
    first = pl.program_id(0) * _LANES

    @pl.when((pl.program_id(1) == 0) & (pl.program_id(2) == 0))
    def _start() -> None:
        out_ref[...] = jnp.zeros_like(out_ref)

    tile = (images, _LANES)
    image = pl.program_id(1) * images + lax.broadcasted_iota(jnp.int32, tile, 0)
    channel = first + lax.broadcasted_iota(jnp.int32, tile, 1)
    # Beyond the last image and the last live channel may be anything.
    lives = (image < n) & (channel < live_ref[1])

    def visit(i: Array, j: Array, _: None) -> None:
        def add(row: Array, total: Array) -> Array:
            for start in range(0, width, strip):
                count = min(strip, width - start)
                g = g_ref[row, pl.ds(start, count)].astype(jnp.float32)
                total += jnp.sum(_met(x_ref, i, j, stride, row, start, count) * g, 0)
            return total

        total = lax.fori_loop(0, rows, add, jnp.zeros(tile, jnp.float32))
        out_ref[i * size + j] += jnp.where(lives, total, jnp.float32(0))

    _over_taps(live_ref, size, first, visit, None)


def _met(
    x_ref, i: Array, j: Array, stride: int, row: Array, start: int, count: int
) -> Float[Array, "count images lanes"]:
    """The pixels that tap (i, j) meets for a row of the result, from a column on."""
    phase = lax.rem(i, stride) * stride + lax.rem(j, stride)
    columns = pl.ds(start + lax.div(j, stride), count)
    return x_ref[phase, row + lax.div(i, stride), columns].astype(jnp.float32)


def _over_taps(
    live_ref, size: int, first: Array, add: Callable[[Array, Array, T], T], start: T
) -> T:
    """`add` for every tap of the live kernel, in the middle of the whole one.

    Nothing is added where no channel lives from `first` on.
    """
    corner = lax.div(size - live_ref[0], 2)
    end = jnp.where(first < live_ref[1], corner + live_ref[0], corner)

    def along(i: Array, total: T) -> T:
        return lax.fori_loop(corner, end, lambda j, total: add(i, j, total), total)

    return lax.fori_loop(corner, end, along, start)


def _for_strips(
    rows: int, width: int, strip: int, visit: Callable[[Array, int, int], None]
) -> None:
    """Visit a block in strips of its rows: a sum is kept in one register a pixel, of 64."""

    def strips(row: Array, _: None) -> None:
        for start in range(0, width, strip):
            visit(row, start, min(strip, width - start))

    lax.fori_loop(0, rows, strips, None)


depthwise_conv = Correlations(_correlate, _products)
