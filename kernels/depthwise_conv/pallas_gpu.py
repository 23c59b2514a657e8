"""Depthwise convolution as Pallas kernels for GPUs, by way of Triton (sm_80 or newer).

A program makes some spans, each a few neighbouring pixels of a line of the result, of a block of
channels: what it reads of the map meets several of them, so a 3x3 kernel reads a pixel less than
four times and not nine. Pixels are found from their place in the batch: no padded or strided copy
is made. Kernel size and channels that live are run-time data: dead lines of taps are not visited,
blocks of dead channels are stored without a product. A gradient with respect to the map of a
strided convolution is spaced out (`spaced`). Mosaic GPU, Pallas' other way to a GPU, has no use for
its matrix units here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Bool, Float, Int

from kernels.depthwise_conv.correlations import Correlations, Window
from kernels.depthwise_conv.spaced import correlate_spaced, divide
from kernels.epilogue import finish
from kernels.tiles import tiles

# Programs of a weight gradient: some for each multiprocessor.
_PROGRAMS = 1024


@dataclass(frozen=True)
class _Spans:
    """The pixels of the results of a batch, by spans of a line.

    Args:
        shape: of the map: images, height, width, channels.
        size: of the kernel.
        window: which pixels its taps meet.
        length: pixels of a span.
    """

    shape: tuple[int, ...]
    size: int
    window: Window
    length: int

    @property
    def of_line(self) -> int:
        """Spans of a line; the last one may reach over its end."""
        return pl.cdiv(self.window.out[1], self.length)

    @property
    def count(self) -> int:
        """Of the batch."""
        return self.shape[0] * self.window.out[0] * self.of_line

    def pixels(self, number: Int[Array, " p"], at: int) -> tuple[Array, Array]:
        """Place in the result of pixel `at` of spans, and whether it is one."""
        line, part = divide(number, self.of_line)
        column = part * self.length + at
        there = (number < self.count) & (column < self.window.out[1])
        return line * self.window.out[1] + column, there

    def line(self, number: Int[Array, " p"], i: Array | int) -> tuple[Array, Array, Array]:
        """What the taps of line i meet: its place in the map, its first column, whether it is."""
        _, height, width, _ = self.shape
        stride, padding = self.window.stride, self.window.padding
        line, part = divide(number, self.of_line)
        image, row = divide(line, self.window.out[0])
        row = row * stride + (i - padding)
        there = (number < self.count) & _within(row, height)
        return (image * height + row) * width, part * (self.length * stride) - padding, there

    @property
    def columns(self) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Columns of the map from a span's first on, and the pixels and taps that meet in each."""
        stride, padding = self.window.stride, self.window.padding
        for column in range((self.length - 1) * stride + self.size):
            # Where a line is one span, columns outside the map are known.
            if self.of_line > 1 or padding <= column < padding + self.shape[2]:
                pairs = ((at, column - at * stride) for at in range(self.length))
                yield column, [(at, tap) for at, tap in pairs if 0 <= tap < self.size]


def _spans(shape: tuple[int, ...], size: int, window: Window, longest: int) -> _Spans:
    """Spans with which a line reads least; of equals the longest."""

    def read(length: int) -> int:
        return pl.cdiv(window.out[1], length) * ((length - 1) * window.stride + size)

    return _Spans(shape, size, window, min(range(longest, 0, -1), key=read))


def _block(spans: int, lanes: int, channels: int) -> tuple[int, int]:
    """Spans and channels of a program: of a narrow map more spans."""
    narrow = min(lanes, pl.next_power_of_2(channels))
    return spans * lanes // narrow, narrow


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
    if window.spacing > 1:
        return correlate_spaced(x, weight, live, window, interpret)
    n, height, width, channels = x.shape
    size = weight.shape[0]
    tile = tiles("depthwise_conv", "pallas_gpu")
    # A thread reads 16 bytes of either element type; strided, that would take too many registers.
    wider = 4 // x.dtype.itemsize if window.stride == 1 else 1
    block, lanes = _block(tile["spans"] * wider, tile["channels"], channels)
    spans = _spans(x.shape, size, window, tile["length"])
    pixels = n * window.out[0] * window.out[1]
    operands = [x.reshape(-1, channels), weight.reshape(-1, channels), live]
    in_specs = [
        pl.BlockSpec((n * height * width, lanes), lambda _, c: (0, c)),
        pl.BlockSpec((size * size, lanes), lambda _, c: (0, c)),
        pl.BlockSpec((2,), lambda _i, _c: (0,)),
    ]
    if bias is not None:
        operands.append(bias)
        in_specs.append(pl.BlockSpec((lanes,), lambda _, c: (c,)))
    y = pl.pallas_call(
        partial(_correlate_kernel, spans=spans, block=block, activation=activation),
        out_shape=jax.ShapeDtypeStruct((pixels, channels), x.dtype),
        grid=(pl.cdiv(spans.count, block), pl.cdiv(channels, lanes)),
        in_specs=in_specs,
        out_specs=pl.BlockSpec((pixels, lanes), lambda _, c: (0, c)),
        compiler_params=triton.CompilerParams(num_warps=tile["warps"], num_stages=1),
        interpret=interpret,
        name="depthwise_conv",
    )(*operands)
    return y.reshape(n, *window.out, channels)


def _correlate_kernel(
    x_ref, weight_ref, live_ref, *rest, spans: _Spans, block: int, activation: str
) -> None:
    *bias_ref, y_ref = rest
    lanes, size = y_ref.shape[1], spans.size
    live_size, live_channels = live_ref[0], live_ref[1]
    corner = lax.div(size - live_size, 2)
    first = pl.program_id(1) * lanes
    lane = lax.iota(jnp.int32, lanes)
    channel = first + lane
    inside = channel < spans.shape[3]
    number = pl.program_id(0) * block + lax.iota(jnp.int32, block)

    def add(t: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        i = corner + t
        place, begin, there = spans.line(number, i)
        load = partial(_load, x_ref, lane, inside, width=spans.shape[2])
        taps = [
            triton.load(weight_ref.at[i * size + j, :], mask=inside, other=0.0) for j in range(size)
        ]
        taps = [tap.astype(jnp.float32)[None, :] for tap in taps]
        found = list(totals)
        for column, meetings in spans.columns:
            x = load(place, begin + column, there)
            for at, tap in meetings:
                found[at] += x * taps[tap]
        return tuple(found)

    # Not a `where`: Triton's lowering takes a number in one for a Boolean (JAX 0.10.2).
    lines = live_size * (first < live_channels).astype(jnp.int32)
    empty = jnp.zeros((block, lanes), jnp.float32)
    totals = lax.fori_loop(0, lines, add, (empty,) * spans.length)
    bias = None
    if bias_ref:
        bias = triton.load(bias_ref[0], mask=inside, other=0.0).astype(jnp.float32)
    for at, total in enumerate(totals):
        # Bounds that the compiler knows let it load whole vectors; dead channels are cleared last.
        total = jnp.where((channel < live_channels)[None, :], total, jnp.float32(0))
        y = finish(total, bias, activation).astype(y_ref.dtype)
        pixel, there = spans.pixels(number, at)
        mask = there[:, None] & inside[None, :]
        triton.store(y_ref.at[pixel[:, None], lane[None, :]], y, mask=mask)


def _load(
    x_ref, lane: Array, inside: Array, place: Array, column: Array, there: Array, width: int
) -> Float[Array, "p c"]:
    """A column of the map in each of some lines; zero outside."""
    mask = (there & _within(column, width))[:, None] & inside[None, :]
    found = triton.load(x_ref.at[(place + column)[:, None], lane[None, :]], mask=mask, other=0.0)
    return found.astype(jnp.float32)


def _within(at: Int[Array, " p"], size: int) -> Bool[Array, " p"]:
    """Whether places are in a map; compared without a sign, what is before it is beyond it."""
    return at.astype(jnp.uint32) < jnp.uint32(size)


def _products(
    x: Float[Array, "n h w c"],
    g: Float[Array, "n oh ow c"],
    live: Int[Array, "2"],
    size: int,
    window: Window,
    interpret: bool,
) -> Float[Array, "k k c"]:
    """For each tap the sum of what it meets times the gradient, in parts of the pixels."""
    channels = x.shape[-1]
    tile = tiles("depthwise_conv", "pallas_gpu")
    block, lanes = _block(tile["gradient_spans"], tile["gradient_channels"], channels)
    spans = _spans(x.shape, size, window, tile["length"])
    # A program keeps a tile for each tap of its lines; with all of them maps are read once.
    lines = min(size, max(1, tile["gradient_taps"] // size))
    grid = (pl.cdiv(channels, lanes), pl.cdiv(size, lines))
    blocks = pl.cdiv(spans.count, block)
    steps = pl.cdiv(blocks, max(1, _PROGRAMS // (grid[0] * grid[1])))
    parts = pl.cdiv(blocks, steps)
    found = pl.pallas_call(
        partial(_products_kernel, spans=spans, block=block, steps=steps, lines=lines),
        out_shape=jax.ShapeDtypeStruct((parts, size * size, channels), jnp.float32),
        grid=(*grid, parts),
        in_specs=[
            pl.BlockSpec((x.size // channels, lanes), lambda c, _i, _p: (0, c)),
            pl.BlockSpec((g.size // channels, lanes), lambda c, _i, _p: (0, c)),
            pl.BlockSpec((2,), lambda _c, _i, _p: (0,)),
        ],
        out_specs=pl.BlockSpec((None, size * size, lanes), lambda c, _, p: (p, 0, c)),
        compiler_params=triton.CompilerParams(num_warps=tile["gradient_warps"], num_stages=1),
        interpret=interpret,
        name="depthwise_conv_weight_gradient",
    )(x.reshape(-1, channels), g.reshape(-1, channels), live)
    return jnp.sum(found, 0).reshape(size, size, channels)


def _products_kernel(
    x_ref, g_ref, live_ref, out_ref, *, spans: _Spans, block: int, steps: int, lines: int
) -> None:
    lanes, size = out_ref.shape[-1], spans.size
    live_size, live_channels = live_ref[0], live_ref[1]
    corner = lax.div(size - live_size, 2)
    above = pl.program_id(1) * lines
    first = pl.program_id(0) * lanes
    lane = lax.iota(jnp.int32, lanes)
    channel = first + lane
    inside = channel < spans.shape[3]
    start = pl.program_id(2) * (steps * block)

    def lives(at: Array | int) -> Array:
        return (at >= corner) & (at < corner + live_size)

    def add(t: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        number = start + t * block + lax.iota(jnp.int32, block)
        g = []
        for at in range(spans.length):
            pixel, there = spans.pixels(number, at)
            mask = there[:, None] & inside[None, :]
            part = g_ref.at[pixel[:, None], lane[None, :]]
            g.append(triton.load(part, mask=mask, other=0.0).astype(jnp.float32))
        found = list(totals)
        for line in range(lines):
            place, begin, there = spans.line(number, above + line)
            there &= lives(above + line)
            for column, meetings in spans.columns:
                x = _load(x_ref, lane, inside, place, begin + column, there, spans.shape[2])
                for at, tap in meetings:
                    found[line * size + tap] += x * g[at]
        return tuple(found)

    any_lives = (above < corner + live_size) & (above + lines > corner) & (first < live_channels)
    empty = jnp.zeros((block, lanes), jnp.float32)
    count = any_lives.astype(jnp.int32) * steps
    totals = lax.fori_loop(0, count, add, (empty,) * (lines * size))
    for number, total in enumerate(totals):
        i, j = above + number // size, number % size
        # A dead tap met something, and an infinite gradient times nothing is not zero.
        alive = lives(i) & lives(j) & (channel < live_channels)
        value = jnp.where(alive, jnp.sum(total, 0), jnp.float32(0))
        mask = inside[None] & (i < size)
        triton.store(out_ref.at[pl.ds(i * size + j, 1), :], value[None], mask=mask)


depthwise_conv = Correlations(_correlate, _products)
