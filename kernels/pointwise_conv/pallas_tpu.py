"""Pointwise convolution as Pallas kernels for TPUs.

Widths that live are prefetched scalars: blocks of dead channels are neither fetched, since their
index is clamped to the last live block, nor multiplied.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu
from jaxtyping import Float, Int

from kernels.epilogue import finish
from kernels.pointwise_conv.products import Products, round_up
from kernels.tiles import tiles

# Tiles of the matrix unit: 8 rows (16 in bfloat16) by 128 columns.
_LANES = 128
_SUBLANES = 16
# Mosaic loads no fewer rows of bfloat16 ("Sublane broadcast").
_PACKED_ROWS = 8


def _last(live: Array) -> Array:
    """The last block of columns in which something lives."""
    return jnp.maximum(pl.cdiv(live, _LANES) - 1, 0)


def _enough(x: Float[Array, "r c"]) -> Float[Array, "_ c"]:
    """As many rows as Mosaic can load; those added are zero."""
    lacking = _PACKED_ROWS - x.shape[0] if x.dtype.itemsize == 2 else 0
    return jnp.pad(x, ((0, lacking), (0, 0))) if lacking > 0 else x


def _apply(
    x: Float[Array, "r k"],
    weight: Float[Array, "k n"],
    live: Int[Array, "2"],
    bias: Float[Array, " n"] | None,
    activation: str,
    interpret: bool,
) -> Float[Array, "r n"]:
    """`activation(x weight + bias)` with the first `live` of k and n; see `products.Products`."""
    given, x = x.shape[0], _enough(x)
    rows, depth = x.shape
    columns = weight.shape[1]
    most = tiles("pointwise_conv", "pallas_tpu")["rows"]
    block = min(most, round_up(rows, _SUBLANES))
    grid = (pl.cdiv(rows, block), pl.cdiv(columns, _LANES), pl.cdiv(depth, _LANES))
    operands = [x, weight]
    in_specs = [
        pl.BlockSpec((block, _LANES), lambda i, j, t, s: (i, jnp.minimum(t, _last(s[0])))),
        pl.BlockSpec(
            (_LANES, _LANES),
            lambda i, j, t, s: (jnp.minimum(t, _last(s[0])), jnp.minimum(j, _last(s[1]))),
        ),
    ]
    if bias is not None:
        operands.append(bias[None])
        in_specs.append(pl.BlockSpec((1, _LANES), lambda i, j, t, s: (0, j)))
    spec = tpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=1,
        grid=grid,
        in_specs=in_specs,
        out_specs=pl.BlockSpec((block, _LANES), lambda i, j, t, s: (i, j)),
        scratch_shapes=[tpu.VMEM((block, _LANES), jnp.float32)],
    )
    y = pl.pallas_call(
        partial(_apply_kernel, activation=activation),
        out_shape=jax.ShapeDtypeStruct((rows, columns), x.dtype),
        grid_spec=spec,
        compiler_params=tpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary")
        ),
        interpret=interpret,
        name="pointwise_conv",
    )(live, *operands)
    return y[:given]


def _apply_kernel(live_ref, x_ref, weight_ref, *rest, activation: str) -> None:
    *bias_ref, y_ref, total_ref = rest
    j, t = pl.program_id(1), pl.program_id(2)

    @pl.when(t == 0)
    def _start() -> None:
        total_ref[...] = jnp.zeros_like(total_ref)

    @pl.when((t * _LANES < live_ref[0]) & (j * _LANES < live_ref[1]))
    def _add() -> None:
        # What lies beyond the arrays may be anything, NaN too: both factors are cleared.
        x = _only(x_ref[...], 1, live_ref[0] - t * _LANES)
        weight = _only(weight_ref[...], 0, live_ref[0] - t * _LANES)
        weight = _only(weight, 1, live_ref[1] - j * _LANES)
        total_ref[...] += jnp.dot(x, weight, preferred_element_type=jnp.float32)

    @pl.when(t == pl.num_programs(2) - 1)
    def _store() -> None:
        total = total_ref[...]
        if bias_ref:
            total += _only(bias_ref[0][...].astype(jnp.float32), 1, live_ref[1] - j * _LANES)
        y_ref[...] = finish(total, None, activation).astype(y_ref.dtype)


def _products(
    x: Float[Array, "r i"], g: Float[Array, "r o"], live: Int[Array, "2"], interpret: bool
) -> Float[Array, "i o"]:
    """`x^T g` with the first `live` of i and o; zero elsewhere."""
    x, g = _enough(x), _enough(g)
    rows, inputs = x.shape
    outputs = g.shape[1]
    most = tiles("pointwise_conv", "pallas_tpu")["rows"]
    block = min(most, round_up(rows, _SUBLANES))
    grid = (pl.cdiv(inputs, _LANES), pl.cdiv(outputs, _LANES), pl.cdiv(rows, block))
    spec = tpu.PrefetchScalarGridSpec(
        num_scalar_prefetch=1,
        grid=grid,
        in_specs=[
            pl.BlockSpec((block, _LANES), lambda i, j, t, s: (t, jnp.minimum(i, _last(s[0])))),
            pl.BlockSpec((block, _LANES), lambda i, j, t, s: (t, jnp.minimum(j, _last(s[1])))),
        ],
        out_specs=pl.BlockSpec((_LANES, _LANES), lambda i, j, t, s: (i, j)),
    )
    return pl.pallas_call(
        partial(_products_kernel, rows=rows, block=block),
        out_shape=jax.ShapeDtypeStruct((inputs, outputs), jnp.float32),
        grid_spec=spec,
        compiler_params=tpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary")
        ),
        interpret=interpret,
        name="pointwise_conv_weight_gradient",
    )(live, x, g)


def _products_kernel(live_ref, x_ref, g_ref, out_ref, *, rows: int, block: int) -> None:
    i, j, t = pl.program_id(0), pl.program_id(1), pl.program_id(2)

    @pl.when(t == 0)
    def _start() -> None:
        out_ref[...] = jnp.zeros_like(out_ref)

    @pl.when((i * _LANES < live_ref[0]) & (j * _LANES < live_ref[1]))
    def _add() -> None:
        x = _only(x_ref[...], 1, live_ref[0] - i * _LANES)
        g = _only(g_ref[...], 1, live_ref[1] - j * _LANES)
        x, g = _only(x, 0, rows - t * block), _only(g, 0, rows - t * block)
        contract = (((0,), (0,)), ((), ()))
        out_ref[...] += lax.dot_general(x, g, contract, preferred_element_type=jnp.float32)


def _only(block: Array, axis: int, live: Array | int) -> Array:
    """Zeros from index `live` of an axis on."""
    place = lax.broadcasted_iota(jnp.int32, block.shape, axis)
    return jnp.where(place < live, block, jnp.zeros_like(block))


pointwise_conv = Products(_apply, _products)
