"""Named shapes that the search spaces emit, for tests, bench and tuning alike."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from kernels.batch_norm.api import OPERATION, batch_norm


@dataclass(frozen=True)
class Spec:
    """One batch norm, in training, of a network on small images; maps are square."""

    size: int
    channels: int
    activation: str

    operation = OPERATION

    @property
    def name(self) -> str:
        """Size, channels and activation."""
        return f"{self.size}x{self.size}x{self.channels}_{self.activation}"

    def operands(self, batch: int, key: Array) -> tuple[Array, ...]:
        """A map, scale and bias."""
        x = jax.random.normal(key, (batch, self.size, self.size, self.channels))
        return x, jnp.ones(self.channels), jnp.zeros(self.channels)

    def call(self, implementation: str) -> Callable[..., Array]:
        """The operation on `operands`."""

        def run(x: Array, scale: Array, bias: Array) -> Array:
            return batch_norm(
                x,
                scale,
                bias,
                epsilon=1e-3,
                activation=self.activation,
                implementation=implementation,
            )[0]

        return run

    def flops(self, batch: int) -> int:
        """Of the forward pass, the activation left out."""
        return 6 * batch * self.size**2 * self.channels

    def bytes(self, batch: int) -> int:
        """Read twice and written once by the forward pass."""
        return 12 * batch * self.size**2 * self.channels


_SHAPES = ((28, 48), (28, 16), (14, 64), (14, 72), (7, 144), (7, 160), (8, 224), (4, 320), (9, 17))
SPECS = tuple(
    Spec(size, channels, activation)
    for size, channels in _SHAPES
    for activation in ("none", "relu", "hswish")
)
