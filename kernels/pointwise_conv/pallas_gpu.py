"""Pointwise convolution as Pallas kernels for GPUs, by way of Triton (sm_80 or newer).

Widths that live are run-time data: a loop over channels ends where they end, and blocks of dead
channels are stored as zeros without a product. Mosaic GPU, Pallas' other way to a GPU, would need
warp-group tiles in shared memory with 128-byte swizzles, which these narrow matrices seldom fill.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Float, Int

from kernels.epilogue import finish
from kernels.pointwise_conv.products import Products, round_up
from kernels.tiles import tiles

_PARTS = 32
_STAGES = 2


def _apply(
    x: Float[Array, "r k"],
    weight: Float[Array, "k n"],
    live: Int[Array, "2"],
    bias: Float[Array, " n"] | None,
    activation: str,
    interpret: bool,
) -> Float[Array, "r n"]:
    """`activation(x weight + bias)` with the first `live` of k and n; see `products.Products`."""
    rows, depth = x.shape
    columns = weight.shape[1]
    tile = tiles("pointwise_conv", "pallas_gpu")
    block, wide, step = tile["rows"], tile["columns"], tile["depth"]
    size = (rows, depth, columns)
    kernel = partial(_apply_kernel, size=size, step=step, activation=activation)
    whole = round_up(depth, step)
    operands = [x, weight, live]
    in_specs = [
        pl.BlockSpec((block, whole), lambda i, j: (i, 0)),
        pl.BlockSpec((whole, wide), lambda i, j: (0, j)),
        pl.BlockSpec((2,), lambda i, j: (0,)),
    ]
    if bias is not None:
        operands.append(bias)
        in_specs.append(pl.BlockSpec((wide,), lambda i, j: (j,)))
    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((rows, columns), x.dtype),
        grid=(pl.cdiv(rows, block), pl.cdiv(columns, wide)),
        in_specs=in_specs,
        out_specs=pl.BlockSpec((block, wide), lambda i, j: (i, j)),
        compiler_params=triton.CompilerParams(num_warps=tile["warps"], num_stages=_STAGES),
        interpret=interpret,
        name="pointwise_conv",
    )(*operands)


def _apply_kernel(
    x_ref, weight_ref, live_ref, *rest, size: tuple[int, int, int], step: int, activation: str
) -> None:
    rows, depth, columns = size
    *bias_ref, y_ref = rest
    live_depth, live_columns = live_ref[0], live_ref[1]
    block, wide = y_ref.shape
    row = pl.program_id(0) * block + lax.iota(jnp.int32, block)
    first = pl.program_id(1) * wide
    column = first + lax.iota(jnp.int32, wide)

    def add(t: Array, total: Array) -> Array:
        place = pl.ds(t * step, step)
        k = t * step + lax.iota(jnp.int32, step)
        # Bounds that the compiler knows let it load whole vectors; then what is dead is cleared.
        x_mask = (row < rows)[:, None] & (k < depth)[None, :]
        weight_mask = (k < depth)[:, None] & (column < columns)[None, :]
        x = triton.load(x_ref.at[:, place], mask=x_mask, other=0.0)
        weight = triton.load(weight_ref.at[place, :], mask=weight_mask, other=0.0)
        x = jnp.where((k < live_depth)[None, :], x, jnp.zeros_like(x))
        weight = jnp.where((k < live_depth)[:, None], weight, jnp.zeros_like(weight))
        return total + triton.dot(x, weight).astype(jnp.float32)

    # Not a `where`: Triton's lowering takes a number in one for a Boolean (JAX 0.10.2).
    steps = pl.cdiv(live_depth, step) * (first < live_columns).astype(jnp.int32)
    total = lax.fori_loop(0, steps, add, jnp.zeros((block, wide), jnp.float32))
    bias = None
    if bias_ref:
        bias = triton.load(bias_ref[0], mask=column < columns, other=0.0).astype(jnp.float32)
    total = jnp.where((column < live_columns)[None, :], total, jnp.float32(0))
    y = finish(total, bias, activation)
    mask = (row < rows)[:, None] & (column < columns)[None, :]
    triton.store(y_ref, y.astype(y_ref.dtype), mask=mask)


def _products(
    x: Float[Array, "r i"], g: Float[Array, "r o"], live: Int[Array, "2"], interpret: bool
) -> Float[Array, "i o"]:
    """`x^T g` with the first `live` of i and o, zero elsewhere, in parts of the rows."""
    rows, inputs = x.shape
    outputs = g.shape[1]
    tile = tiles("pointwise_conv", "pallas_gpu")
    block, wide = tile["gradient_rows"], tile["columns"]
    steps = pl.cdiv(pl.cdiv(rows, block), _PARTS)
    parts = pl.cdiv(pl.cdiv(rows, block), steps)
    share = steps * block
    kernel = partial(_products_kernel, rows=rows, steps=steps, inputs=inputs, outputs=outputs)
    found = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((parts, inputs, outputs), jnp.float32),
        grid=(pl.cdiv(inputs, wide), pl.cdiv(outputs, wide), parts),
        in_specs=[
            pl.BlockSpec((share, wide), lambda i, j, p: (p, i)),
            pl.BlockSpec((share, wide), lambda i, j, p: (p, j)),
            pl.BlockSpec((2,), lambda i, j, p: (0,)),
        ],
        out_specs=pl.BlockSpec((None, wide, wide), lambda i, j, p: (p, i, j)),
        compiler_params=triton.CompilerParams(num_warps=tile["warps"], num_stages=_STAGES),
        interpret=interpret,
        name="pointwise_conv_weight_gradient",
    )(x, g, live)
    return jnp.sum(found, 0)


def _products_kernel(
    x_ref, g_ref, live_ref, out_ref, *, rows: int, steps: int, inputs: int, outputs: int
) -> None:
    live_in, live_out = live_ref[0], live_ref[1]
    wide, block = out_ref.shape[-1], x_ref.shape[0] // steps
    first_in, first_out = pl.program_id(0) * wide, pl.program_id(1) * wide
    into = first_in + lax.iota(jnp.int32, wide)
    out = first_out + lax.iota(jnp.int32, wide)
    first = pl.program_id(2) * (steps * block)

    def add(t: Array, total: Array) -> Array:
        place = pl.ds(t * block, block)
        row = first + t * block + lax.iota(jnp.int32, block)
        x_mask = (row < rows)[:, None] & (into < inputs)[None, :]
        g_mask = (row < rows)[:, None] & (out < outputs)[None, :]
        x = triton.load(x_ref.at[place, :], mask=x_mask, other=0.0)
        g = triton.load(g_ref.at[place, :], mask=g_mask, other=0.0)
        return total + triton.dot(x, g, trans_a=True).astype(jnp.float32)

    lives = (first_in < live_in) & (first_out < live_out)
    bound = lives.astype(jnp.int32) * steps
    total = lax.fori_loop(0, bound, add, jnp.zeros((wide, wide), jnp.float32))
    # A column of x or g meets no other, so that what is dead can be cleared last.
    lives = (into < live_in)[:, None] & (out < live_out)[None, :]
    mask = (into < inputs)[:, None] & (out < outputs)[None, :]
    triton.store(out_ref, jnp.where(lives, total, jnp.float32(0)), mask=mask)


pointwise_conv = Products(_apply, _products)
