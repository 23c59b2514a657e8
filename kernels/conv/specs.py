"""Named shapes that the search spaces emit, for tests and bench alike."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
from jax import Array

from kernels.conv.api import OPERATION, conv


@dataclass(frozen=True)
class Spec:
    """One convolution of a network on small images; maps are square."""

    size: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1

    operation = OPERATION

    @property
    def name(self) -> str:
        """Size, channels, kernel and stride."""
        shape = f"{self.size}x{self.size}x{self.inputs}_{self.outputs}"
        return f"{shape}_k{self.kernel}_s{self.stride}"

    @property
    def out_size(self) -> int:
        """Height and width of the result."""
        return (self.size + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    def operands(self, batch: int, key: Array) -> tuple[Array, ...]:
        """A map and weights."""
        keys = jax.random.split(key)
        x = jax.random.normal(keys[0], (batch, self.size, self.size, self.inputs))
        shape = (self.kernel, self.kernel, self.inputs, self.outputs)
        return x, jax.random.normal(keys[1], shape)

    def call(self, implementation: str) -> Callable[..., Array]:
        """The operation on `operands`."""
        padding = self.kernel // 2
        return partial(conv, stride=self.stride, padding=padding, implementation=implementation)

    def flops(self, batch: int) -> int:
        """Of the forward pass."""
        return 2 * batch * self.out_size**2 * self.kernel**2 * self.inputs * self.outputs

    def bytes(self, batch: int) -> int:
        """Read and written by the forward pass, weights left out."""
        return 4 * batch * (self.size**2 * self.inputs + self.out_size**2 * self.outputs)


SPECS = (
    Spec(28, 1, 16),
    Spec(32, 3, 16),
    Spec(32, 3, 24, stride=2),
    Spec(16, 64, 64),
    Spec(16, 64, 64, stride=2),
    Spec(8, 88, 128),
    Spec(9, 17, 33, kernel=5, stride=2),
    Spec(5, 3, 7, kernel=7, stride=3),
)
