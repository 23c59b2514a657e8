"""Pointwise convolution as XLA computes a matrix product."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from kernels.epilogue import finish


def pointwise_conv(
    x: Float[Array, "*n i"],
    weight: Float[Array, "i o"],
    active: Int[Array, "2"] | None,
    scale: Float[Array, "m i"] | None,
    bias: Float[Array, " o"] | None,
    activation: str,
) -> Float[Array, "*n o"]:
    """See `api.pointwise_conv`."""
    if scale is not None:
        x = x * scale.reshape(scale.shape[:1] + (1,) * (x.ndim - 2) + scale.shape[1:])
    if active is not None:
        live = (jnp.arange(size, dtype=active.dtype) for size in weight.shape)
        rows, columns = (place < active[axis] for axis, place in enumerate(live))
        x = jnp.where(rows.reshape((1,) * (x.ndim - 1) + rows.shape), x, jnp.zeros_like(x))
        weight = jnp.where(rows[:, None] & columns[None, :], weight, jnp.zeros_like(weight))
    return finish(jnp.dot(x, weight), bias, activation)
