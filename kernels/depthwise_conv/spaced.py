"""Depthwise correlation with a map spaced out by zeros, as a Pallas kernel for GPUs.

It is the gradient of a strided convolution with respect to its map. A program makes some pixels,
counted through the whole batch, of a block of channels, and finds the pixels that a tap meets by
itself; most taps meet none.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Bool, Float, Int

from kernels.depthwise_conv.correlations import Window
from kernels.tiles import tiles


def correlate_spaced(
    x: Float[Array, "n h w c"],
    weight: Float[Array, "k k c"],
    live: Int[Array, "2"],
    window: Window,
    interpret: bool,
) -> Float[Array, "n oh ow c"]:
    """As `correlations.Correlations` asks of `correlate`, without bias and activation."""
    n, height, width, channels = x.shape
    size = weight.shape[0]
    tile = tiles("depthwise_conv", "pallas_gpu")
    lanes = tile["channels"]
    pixels = n * window.out[0] * window.out[1]
    y = pl.pallas_call(
        partial(_kernel, shape=x.shape, size=size, window=window),
        out_shape=jax.ShapeDtypeStruct((pixels, channels), x.dtype),
        grid=(pl.cdiv(pixels, tile["pixels"]), pl.cdiv(channels, lanes)),
        in_specs=[
            pl.BlockSpec((n * height * width, lanes), lambda _, c: (0, c)),
            pl.BlockSpec((size * size, lanes), lambda _, c: (0, c)),
            pl.BlockSpec((2,), lambda _i, _c: (0,)),
        ],
        out_specs=pl.BlockSpec((tile["pixels"], lanes), lambda i, c: (i, c)),
        compiler_params=triton.CompilerParams(num_warps=tile["warps"], num_stages=1),
        interpret=interpret,
        name="depthwise_conv_spaced",
    )(x.reshape(-1, channels), weight.reshape(-1, channels), live)
    return y.reshape(n, *window.out, channels)


def _kernel(
    x_ref, weight_ref, live_ref, y_ref, *, shape: tuple[int, ...], size: int, window: Window
) -> None:
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
    total = jnp.where((channel < live_channels)[None, :], total, jnp.float32(0))
    mask = (place < shape[0] * window.out[0] * window.out[1])[:, None] & inside[None, :]
    triton.store(y_ref, total.astype(y_ref.dtype), mask=mask)


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
    line, column = divide(place, wide)
    image, row = divide(line, tall)
    row = row * window.stride + (i - window.padding)
    column = column * window.stride + (j - window.padding)
    met = (place < n * tall * wide) & (row >= 0) & (column >= 0)
    (row, above), (column, left) = (divide(at, window.spacing) for at in (row, column))
    met &= (above == 0) & (left == 0)
    met &= (row < height) & (column < width)
    return (image * height + row) * width + column, met


def divide(a: Int[Array, " p"], b: int) -> tuple[Int[Array, " p"], Int[Array, " p"]]:
    """Quotient and remainder towards zero, for what is not negative: cheaper than `//`."""
    divisor = jnp.full_like(a, b)
    return lax.div(a, divisor), lax.rem(a, divisor)
