"""Named shapes that the search spaces emit, for tests, bench and tuning alike."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
from jax import Array

from kernels.pointwise_conv.api import OPERATION, pointwise_conv


@dataclass(frozen=True)
class Spec:
    """One pointwise convolution of a network on small images; maps are square."""

    size: int
    inputs: int
    outputs: int

    operation = OPERATION

    @property
    def name(self) -> str:
        """Size and channels."""
        return f"{self.size}x{self.size}x{self.inputs}_{self.outputs}"

    def operands(self, batch: int, key: Array) -> tuple[Array, ...]:
        """A map and weights."""
        keys = jax.random.split(key)
        x = jax.random.normal(keys[0], (batch, self.size, self.size, self.inputs))
        return x, jax.random.normal(keys[1], (self.inputs, self.outputs))

    def call(self, implementation: str) -> Callable[..., Array]:
        """The operation on `operands`."""
        return partial(pointwise_conv, implementation=implementation)

    def flops(self, batch: int) -> int:
        """Of the forward pass."""
        return 2 * batch * self.size**2 * self.inputs * self.outputs

    def bytes(self, batch: int) -> int:
        """Read and written by the forward pass, weights left out."""
        return 4 * batch * self.size**2 * (self.inputs + self.outputs)


_SHAPES = (
    # size, narrow, wide
    (28, 16, 48),
    (28, 24, 96),
    (14, 16, 64),
    (14, 40, 160),
    (7, 40, 160),
    (7, 80, 480),
    (8, 56, 224),
    (4, 80, 320),
    (9, 17, 51),
)
SPECS = tuple(
    Spec(size, *pair) for size, narrow, wide in _SHAPES for pair in ((narrow, wide), (wide, narrow))
)
