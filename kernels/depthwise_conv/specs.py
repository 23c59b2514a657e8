"""Named shapes that the search spaces emit, for tests, bench and tuning alike."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
from jax import Array

from kernels.depthwise_conv.api import OPERATION, depthwise_conv


@dataclass(frozen=True)
class Spec:
    """One depthwise convolution of a network on small images; maps are square."""

    name: str
    size: int
    channels: int
    kernel: int
    stride: int = 1

    operation = OPERATION

    @property
    def padding(self) -> int:
        """Half the kernel: with stride 1 the map keeps its size."""
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        """Height and width of the result."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    def operands(self, batch: int, key: Array) -> tuple[Array, ...]:
        """A map and weights."""
        keys = jax.random.split(key)
        x = jax.random.normal(keys[0], (batch, self.size, self.size, self.channels))
        return x, jax.random.normal(keys[1], (self.kernel, self.kernel, self.channels))

    def call(self, implementation: str) -> Callable[..., Array]:
        """The operation on `operands`."""
        return partial(
            depthwise_conv, stride=self.stride, padding=self.padding, implementation=implementation
        )

    def flops(self, batch: int) -> int:
        """Of the forward pass."""
        return 2 * batch * self.channels * self.out_size**2 * self.kernel**2

    def bytes(self, batch: int) -> int:
        """Read and written by the forward pass, weights left out."""
        return 4 * batch * self.channels * (self.size**2 + self.out_size**2)


_SHAPES = (
    # size, channels, kernels, strides
    (32, 96, (3, 5, 7), (2,)),
    (16, 96, (3, 5, 7), (1, 2)),
    (8, 144, (3, 5, 7), (1,)),
    (4, 336, (3, 5, 7), (1,)),
    (4, 480, (3, 5, 7), (1,)),
    (28, 16, (3, 5, 7), (1,)),
    (28, 48, (3, 5, 7), (1, 2)),
    (28, 96, (3, 5, 7), (1, 2)),
    (14, 72, (3, 5, 7), (1, 2)),
    (14, 144, (3, 5, 7), (1, 2)),
    (7, 144, (3, 5, 7), (1, 2)),
    (7, 288, (3, 5, 7), (1,)),
    (8, 240, (3, 5, 7), (1, 2)),
    (4, 240, (3, 5, 7), (1, 2)),
    (2, 288, (3, 5, 7), (1, 2)),
    (1, 288, (3, 5, 7), (1,)),
    (15, 24, (3, 5, 7), (1, 2)),
    (10, 40, (3, 5, 7), (1, 2)),
    (9, 17, (3, 5, 7), (1, 2)),
    (12, 8, (3, 5), (1, 2)),
)

SPECS = tuple(
    Spec(f"{size}x{size}x{channels}_k{kernel}_s{stride}", size, channels, kernel, stride)
    for size, channels, kernels, strides in _SHAPES
    for kernel in kernels
    for stride in strides
)
