"""Convolution as XLA has it."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.epilogue import finish


def conv(
    x: Float[Array, "n h w i"],
    weight: Float[Array, "k k i o"],
    stride: int,
    padding: int,
    active: Int[Array, "3"] | None,
    bias: Float[Array, " o"] | None,
    activation: str,
) -> Float[Array, "n oh ow o"]:
    """See `api.conv`."""
    if active is not None:
        live = jnp.arange(x.shape[-1], dtype=active.dtype) < active[1]
        x = jnp.where(live[None, None, None], x, jnp.zeros_like(x))
    edges = ((padding, padding), (padding, padding))
    out = lax.conv_general_dilated(
        x, weight, (stride, stride), edges, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return finish(out, bias, activation)
