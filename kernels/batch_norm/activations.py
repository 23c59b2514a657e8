"""Activations that a batch norm can apply in the same pass."""

from collections.abc import Callable, Mapping

import jax
from jax import Array

# In the order of the C++ enum.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "hswish": jax.nn.hard_swish,
}
