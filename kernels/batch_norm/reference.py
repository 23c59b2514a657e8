"""Batch normalisation in plain JAX."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.epilogue import ACTIVATIONS

Channels = Float[Array, " c"]


def batch_norm(
    x: Float[Array, "*n c"],
    scale: Channels,
    bias: Channels,
    epsilon: float,
    activation: str,
    moments: tuple[Channels, Channels] | None,
    active: Int[Array, ""] | None = None,
) -> tuple[Float[Array, "*n c"], tuple[Channels, Channels]]:
    """See `api.batch_norm`."""
    if active is not None:
        live = jnp.arange(x.shape[-1], dtype=active.dtype) < active
        x = jnp.where(_wide(live, x), x, jnp.zeros_like(x))
        scale, bias = (jnp.where(live, vector, jnp.zeros_like(vector)) for vector in (scale, bias))
    if moments is None:
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(x, axes)
        moments = mean, jnp.mean(jnp.square(x - _wide(mean, x)), axes)
    factor, offset = line(scale, bias, epsilon, moments)
    return ACTIVATIONS[activation](x * _wide(factor, x) + _wide(offset, x)), moments


def line(
    scale: Channels, bias: Channels, epsilon: float, moments: tuple[Channels, Channels]
) -> tuple[Channels, Channels]:
    """Factor and offset of each channel."""
    mean, variance = moments
    factor = scale * lax.rsqrt(variance + epsilon)
    return factor, bias - mean * factor


def _wide(vector: Array, like: Array) -> Array:
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)
