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

_ROWS, _COLUMNS, _DEPTH = 64, 32, 32
_PARTS = 32
_WARPS, _STAGES = 4, 2


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
    kernel = partial(_apply_kernel, size=(rows, depth, columns), activation=activation)
    whole = round_up(depth, _DEPTH)
    operands = [x, weight, live]
    in_specs = [
        pl.BlockSpec((_ROWS, whole), lambda i, j: (i, 0)),
        pl.BlockSpec((whole, _COLUMNS), lambda i, j: (0, j)),
        pl.BlockSpec((2,), lambda i, j: (0,)),
    ]
    if bias is not None:
        operands.append(bias)
        in_specs.append(pl.BlockSpec((_COLUMNS,), lambda i, j: (j,)))
    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((rows, columns), x.dtype),
        grid=(pl.cdiv(rows, _ROWS), pl.cdiv(columns, _COLUMNS)),
        in_specs=in_specs,
        out_specs=pl.BlockSpec((_ROWS, _COLUMNS), lambda i, j: (i, j)),
        compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=_STAGES),
        interpret=interpret,
        name="pointwise_conv",
    )(*operands)


def _apply_kernel(
    x_ref, weight_ref, live_ref, *rest, size: tuple[int, int, int], activation: str
) -> None:
    rows, depth, columns = size
    *bias_ref, y_ref = rest
    live_depth, live_columns = live_ref[0], live_ref[1]
    row = pl.program_id(0) * _ROWS + lax.iota(jnp.int32, _ROWS)
    first = pl.program_id(1) * _COLUMNS
    column = first + lax.iota(jnp.int32, _COLUMNS)

    def add(t: Array, total: Array) -> Array:
        place = pl.ds(t * _DEPTH, _DEPTH)
        k = t * _DEPTH + lax.iota(jnp.int32, _DEPTH)
        # Bounds that the compiler knows let it load whole vectors; then what is dead is cleared.
        x_mask = (row < rows)[:, None] & (k < depth)[None, :]
        weight_mask = (k < depth)[:, None] & (column < columns)[None, :]
        x = triton.load(x_ref.at[:, place], mask=x_mask, other=0.0)
        weight = triton.load(weight_ref.at[place, :], mask=weight_mask, other=0.0)
        x = jnp.where((k < live_depth)[None, :], x, jnp.zeros_like(x))
        weight = jnp.where((k < live_depth)[:, None], weight, jnp.zeros_like(weight))
        return total + triton.dot(x, weight).astype(jnp.float32)

    # Not a `where`: Triton's lowering takes a number in one for a Boolean (JAX 0.10.2).
    steps = pl.cdiv(live_depth, _DEPTH) * (first < live_columns).astype(jnp.int32)
    total = lax.fori_loop(0, steps, add, jnp.zeros((_ROWS, _COLUMNS), jnp.float32))
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
    steps = pl.cdiv(pl.cdiv(rows, _ROWS), _PARTS)
    parts = pl.cdiv(pl.cdiv(rows, _ROWS), steps)
    share = steps * _ROWS
    kernel = partial(_products_kernel, rows=rows, steps=steps, inputs=inputs, outputs=outputs)
    found = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((parts, inputs, outputs), jnp.float32),
        grid=(pl.cdiv(inputs, _COLUMNS), pl.cdiv(outputs, _COLUMNS), parts),
        in_specs=[
            pl.BlockSpec((share, _COLUMNS), lambda i, j, p: (p, i)),
            pl.BlockSpec((share, _COLUMNS), lambda i, j, p: (p, j)),
            pl.BlockSpec((2,), lambda i, j, p: (0,)),
        ],
        out_specs=pl.BlockSpec((None, _COLUMNS, _COLUMNS), lambda i, j, p: (p, i, j)),
        compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=_STAGES),
        interpret=interpret,
        name="pointwise_conv_weight_gradient",
    )(x, g, live)
    return jnp.sum(found, 0)


def _products_kernel(
    x_ref, g_ref, live_ref, out_ref, *, rows: int, steps: int, inputs: int, outputs: int
) -> None:
    live_in, live_out = live_ref[0], live_ref[1]
    first_in, first_out = pl.program_id(0) * _COLUMNS, pl.program_id(1) * _COLUMNS
    into = first_in + lax.iota(jnp.int32, _COLUMNS)
    out = first_out + lax.iota(jnp.int32, _COLUMNS)
    first = pl.program_id(2) * (steps * _ROWS)

    def add(t: Array, total: Array) -> Array:
        place = pl.ds(t * _ROWS, _ROWS)
        row = first + t * _ROWS + lax.iota(jnp.int32, _ROWS)
        x_mask = (row < rows)[:, None] & (into < inputs)[None, :]
        g_mask = (row < rows)[:, None] & (out < outputs)[None, :]
        x = triton.load(x_ref.at[place, :], mask=x_mask, other=0.0)
        g = triton.load(g_ref.at[place, :], mask=g_mask, other=0.0)
        return total + triton.dot(x, g, trans_a=True).astype(jnp.float32)

    lives = (first_in < live_in) & (first_out < live_out)
    bound = lives.astype(jnp.int32) * steps
    total = lax.fori_loop(0, bound, add, jnp.zeros((_COLUMNS, _COLUMNS), jnp.float32))
    # A column of x or g meets no other, so that what is dead can be cleared last.
    lives = (into < live_in)[:, None] & (out < live_out)[None, :]
    mask = (into < inputs)[:, None] & (out < outputs)[None, :]
    triton.store(out_ref, jnp.where(lives, total, jnp.float32(0)), mask=mask)


pointwise_conv = Products(_apply, _products)
