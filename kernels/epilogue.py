"""What a kernel may do to its result in the same pass: add a bias, activate."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

# In the order of the C++ enum.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hswish": jax.nn.hard_swish,
}


def check_activation(operation: str, activation: str) -> None:
    """Refuse an unknown activation.

    Raises:
        ValueError: no such activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"{operation}: no activation {activation!r}; there are: {[*ACTIVATIONS]}")


def finish(
    y: Float[Array, "*n c"], bias: Float[Array, " c"] | None, activation: str
) -> Float[Array, "*n c"]:
    """`activation(y + bias)`, for implementations that leave it to XLA."""
    if bias is not None:
        y = y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
    return ACTIVATIONS[activation](y)


def fused(direct: Callable[..., Array], composed: Callable[..., Array]) -> Callable[..., Array]:
    """A function that is `direct`, with the gradients of `composed`.

    A kernel that activates leaves nothing to differentiate from; where gradients are asked for,
    the same result is composed of parts that have them.
    """

    def forward(*args: Array) -> tuple[Array, Callable[..., tuple[Array, ...]]]:
        # Integers come back as NumPy arrays.
        return jax.vjp(lambda *args: composed(*map(jnp.asarray, args)), *args)

    function = jax.custom_vjp(direct)
    function.defvjp(forward, lambda pull_back, g: pull_back(g))
    return function
