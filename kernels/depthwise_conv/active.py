"""Which taps and channels of a weight live, when a smaller kernel and width are run-time data."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int


def zero_dead(
    weight: Float[Array, "k k c"], active: Int[Array, "2"] | None
) -> Float[Array, "k k c"]:
    """Zero, with their gradients, the taps and channels outside the active ones.

    Args:
        weight: taps by channels.
        active: (kernel size, channels) that live: the kernel centred, the channels a prefix.
    """
    if active is None:
        return weight
    kernel, _, channels = weight.shape
    tap = jnp.abs(jnp.arange(kernel, dtype=jnp.int32) - jnp.int32(kernel // 2))
    live_tap = tap <= active[:1].astype(jnp.int32) // jnp.int32(2)
    live_channel = jnp.arange(channels, dtype=jnp.int32) < active[1:].astype(jnp.int32)
    live = live_tap[:, None, None] & live_tap[None, :, None] & live_channel[None, None, :]
    return jnp.where(live, weight, jnp.zeros((), weight.dtype))
