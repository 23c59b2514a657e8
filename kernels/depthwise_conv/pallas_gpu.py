"""Depthwise convolution as Pallas kernels for GPUs, by way of Triton (sm_80 or newer).

A program makes some pixels, counted through the whole batch, of a block of channels, and finds the
pixels that a tap meets by itself: no padded or strided copy is made, and a map of any size fills
its blocks. Kernel size and channels that live are run-time data: dead taps are not visited, blocks
of dead channels are stored without a product. Mosaic GPU, Pallas' other way to a GPU, has no use
for its matrix units here.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Bool, Float, Int

from kernels.depthwise_conv.correlations import Correlations, Window
from kernels.epilogue import finish
from kernels.tiles import tiles

_PARTS = 32


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
    n, height, width, channels = x.shape
    size = weight.shape[0]
    tile = tiles("depthwise_conv", "pallas_gpu")
    lanes = tile["channels"]
    pixels = n * window.out[0] * window.out[1]
    operands = [x.reshape(-1, channels), weight.reshape(-1, channels), live]
    in_specs = [
        pl.BlockSpec((n * height * width, lanes), lambda i, c: (0, c)),
        pl.BlockSpec((size * size, lanes), lambda i, c: (0, c)),
        pl.BlockSpec((2,), lambda i, c: (0,)),
    ]
    if bias is not None:
        operands.append(bias)
        in_specs.append(pl.BlockSpec((lanes,), lambda i, c: (c,)))
    y = pl.pallas_call(
        partial(_correlate_kernel, shape=x.shape, size=size, window=window, activation=activation),
        out_shape=jax.ShapeDtypeStruct((pixels, channels), x.dtype),
        grid=(pl.cdiv(pixels, tile["pixels"]), pl.cdiv(channels, lanes)),
        in_specs=in_specs,
        out_specs=pl.BlockSpec((tile["pixels"], lanes), lambda i, c: (i, c)),
        compiler_params=triton.CompilerParams(num_warps=tile["warps"], num_stages=2),
        interpret=interpret,
        name="depthwise_conv",
    )(*operands)
    return y.reshape(n, *window.out, channels)


def _correlate_kernel(
    x_ref,
    weight_ref,
    live_ref,
    *rest,
    shape: tuple[int, ...],
    size: int,
    window: Window,
    activation: str,
) -> None:
    *bias_ref, y_ref = rest
    pixels, lanes = y_ref.shape
    live_size, live_channels = live_ref[0], live_ref[1]
    corner = lax.div(size - live_size, 2)
    first = pl.program_id(1) * lanes
    lane = lax.iota(jnp.int32, lanes)
    channel = first + lane
    inside = channel < shape[3]
    place = pl.program_id(0) * pixels + lax.iota(jnp.int32, pixels)

    def add(t: Array, total: Array) -> Array:
        i, j = corner + lax.div(t, live_size), corner + lax.rem(t, live_size)
        pixel, met = _met(place, i, j, shape, window)
        # Bounds that the compiler knows let it load whole vectors; dead channels are cleared last.
        mask = met[:, None] & inside[None, :]
        x = triton.load(x_ref.at[pixel[:, None], lane[None, :]], mask=mask, other=0.0)
        tap = triton.load(weight_ref.at[i * size + j, :], mask=inside, other=0.0)
        return total + x.astype(jnp.float32) * tap.astype(jnp.float32)[None, :]

    # Not a `where`: Triton's lowering takes a number in one for a Boolean (JAX 0.10.2).
    taps = live_size * live_size * (first < live_channels).astype(jnp.int32)
    total = lax.fori_loop(0, taps, add, jnp.zeros((pixels, lanes), jnp.float32))
    bias = None
    if bias_ref:
        bias = triton.load(bias_ref[0], mask=inside, other=0.0).astype(jnp.float32)
    total = jnp.where((channel < live_channels)[None, :], total, jnp.float32(0))
    y = finish(total, bias, activation)
    mask = (place < shape[0] * window.out[0] * window.out[1])[:, None] & inside[None, :]
    triton.store(y_ref, y.astype(y_ref.dtype), mask=mask)


def _met(
    place: Int[Array, " p"],
    i: Int[Array, ""] | int,
    j: Int[Array, ""] | int,
    shape: tuple[int, ...],
    window: Window,
) -> tuple[Int[Array, " p"], Bool[Array, " p"]]:
    """The pixels of the map that tap (i, j) meets for some of the result, and whether it does.

    Where it does not, the pixel may lie outside the map. To put another in its place would cost
    registers, and masked loads read nothing.
    """
    n, height, width, _ = shape
    tall, wide = window.out
    line, column = _divide(place, wide)
    image, row = _divide(line, tall)
    row = row * window.stride + (i - window.padding)
    column = column * window.stride + (j - window.padding)
    met = (place < n * tall * wide) & (row >= 0) & (column >= 0)
    if window.spacing > 1:
        (row, above), (column, left) = (_divide(at, window.spacing) for at in (row, column))
        met &= (above == 0) & (left == 0)
    met &= (row < height) & (column < width)
    return (image * height + row) * width + column, met


def _divide(a: Int[Array, " p"], b: int) -> tuple[Int[Array, " p"], Int[Array, " p"]]:
    """Quotient and remainder towards zero, for what is not negative: cheaper than `//`."""
    divisor = jnp.full_like(a, b)
    return lax.div(a, divisor), lax.rem(a, divisor)


def _products(
    x: Float[Array, "n h w c"],
    g: Float[Array, "n oh ow c"],
    live: Int[Array, "2"],
    size: int,
    window: Window,
    interpret: bool,
) -> Float[Array, "k k c"]:
    """For each tap the sum of what it meets times the gradient, in parts of the pixels."""
    n, height, width, channels = x.shape
    tile = tiles("depthwise_conv", "pallas_gpu")
    # A program keeps a tile for each tap of a row.
    pixels, lanes = tile["gradient_pixels"], tile["channels"]
    blocks = pl.cdiv(n * window.out[0] * window.out[1], pixels)
    steps = pl.cdiv(blocks, _PARTS)
    parts = pl.cdiv(blocks, steps)
    share = steps * pixels
    kernel = partial(
        _products_kernel, shape=x.shape, size=size, window=window, steps=steps, pixels=pixels
    )
    found = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((parts, size, size, channels), jnp.float32),
        grid=(pl.cdiv(channels, lanes), size, parts),
        in_specs=[
            pl.BlockSpec((n * height * width, lanes), lambda c, i, p: (0, c)),
            pl.BlockSpec((share, lanes), lambda c, i, p: (p, c)),
            pl.BlockSpec((2,), lambda c, i, p: (0,)),
        ],
        out_specs=pl.BlockSpec((None, None, size, lanes), lambda c, i, p: (p, i, 0, c)),
        compiler_params=triton.CompilerParams(num_warps=tile["warps"], num_stages=2),
        interpret=interpret,
        name="depthwise_conv_weight_gradient",
    )(x.reshape(-1, channels), g.reshape(-1, channels), live)
    return jnp.sum(found, 0)


def _products_kernel(
    x_ref,
    g_ref,
    live_ref,
    out_ref,
    *,
    shape: tuple[int, ...],
    size: int,
    window: Window,
    steps: int,
    pixels: int,
) -> None:
    lanes = out_ref.shape[-1]
    live_size, live_channels = live_ref[0], live_ref[1]
    corner = lax.div(size - live_size, 2)
    i = pl.program_id(1)
    first = pl.program_id(0) * lanes
    lane = lax.iota(jnp.int32, lanes)
    channel = first + lane
    inside = channel < shape[3]
    start = pl.program_id(2) * (steps * pixels)
    live_tap = [(j >= corner) & (j < corner + live_size) for j in range(size)]

    def add(t: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        offset = t * pixels
        place = start + offset + lax.iota(jnp.int32, pixels)
        whole = (place < shape[0] * window.out[0] * window.out[1])[:, None] & inside[None, :]
        part = g_ref.at[pl.ds(offset, pixels), :]
        g = triton.load(part, mask=whole, other=0.0).astype(jnp.float32)
        found = []
        for j, total in enumerate(totals):
            pixel, met = _met(place, i, j, shape, window)
            mask = (met & live_tap[j])[:, None] & inside[None, :]
            x = triton.load(x_ref.at[pixel[:, None], lane[None, :]], mask=mask, other=0.0)
            found.append(total + x.astype(jnp.float32) * g)
        return tuple(found)

    lives = (i >= corner) & (i < corner + live_size) & (first < live_channels)
    tile = jnp.zeros((pixels, lanes), jnp.float32)
    totals = lax.fori_loop(0, lives.astype(jnp.int32) * steps, add, (tile,) * size)
    for j, total in enumerate(totals):
        # A dead tap met nothing, but an infinite gradient times nothing is not zero.
        lives = live_tap[j] & (channel < live_channels)
        value = jnp.where(lives, jnp.sum(total, 0), jnp.float32(0))
        triton.store(out_ref.at[pl.ds(j, 1), :], value[None], mask=inside[None])


depthwise_conv = Correlations(_correlate, _products)
