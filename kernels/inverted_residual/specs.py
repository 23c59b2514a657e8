"""Named shapes that the search spaces emit, for tests and bench alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
from jax import Array

from kernels.inverted_residual.api import OPERATION, Weights, inverted_residual


@dataclass(frozen=True)
class Spec:
    """One block of a network on small images; maps are square.

    Args:
        size: of the input map.
        inputs: channels of the input.
        wide: channels in the middle; as many as `inputs` where the block does not expand.
        outputs: channels of the result.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        squeezed: channels between squeezing and exciting; 0 for a block that does neither.
    """

    size: int
    inputs: int
    wide: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    squeezed: int = 0

    operation = OPERATION

    @property
    def name(self) -> str:
        """Size, channels, kernel, stride, squeezed channels."""
        squeezed = f"_se{self.squeezed}" if self.squeezed else ""
        channels = f"{self.inputs}_{self.wide}_{self.outputs}"
        return f"{self.size}x{self.size}x{channels}_k{self.kernel}_s{self.stride}{squeezed}"

    @property
    def adds(self) -> bool:
        """Whether the input is added to the result."""
        return self.stride == 1 and self.inputs == self.outputs

    @property
    def out_size(self) -> int:
        """Height and width of the result."""
        return (self.size - 1) // self.stride + 1

    def operands(self, batch: int, key: Array) -> tuple[Array, ...]:
        """A map, and the weights that the block has, in the order of `Weights`."""
        i, e, o, k, r = self.inputs, self.wide, self.outputs, self.kernel, self.squeezed
        shapes = [(k, k, e), (e,), (e, o), (o,)]
        shapes = ([(i, e), (e,)] if e != i else []) + shapes
        shapes += [(e, r), (r,), (r, e), (e,)] if r else []
        keys = jax.random.split(key, len(shapes) + 1)
        x = jax.random.normal(keys[0], (batch, self.size, self.size, i))
        pairs = zip(keys[1:], shapes, strict=True)
        return x, *(jax.random.normal(own, shape) / shape[0] for own, shape in pairs)

    def weights(self, arrays: Sequence[Array]) -> Weights:
        """What `operands` gives behind the map."""
        if self.wide != self.inputs:
            return Weights(*arrays)
        return Weights(None, None, *arrays)

    def call(self, implementation: str) -> Callable[..., Array]:
        """The operation on `operands`."""

        def run(x: Array, *arrays: Array) -> Array:
            fixed = (self.stride, self.kernel // 2, "relu", self.adds)
            weights = self.weights(arrays)
            return inverted_residual(x, weights, *fixed, implementation=implementation)

        return run

    def flops(self, batch: int) -> int:
        """Of the forward pass."""
        expand = self.size**2 * self.inputs * self.wide if self.wide != self.inputs else 0
        rest = self.out_size**2 * self.wide * (self.kernel**2 + self.outputs)
        return 2 * batch * (expand + rest + 2 * self.wide * self.squeezed)

    def bytes(self, batch: int) -> int:
        """Read and written by the forward pass where nothing but its ends leaves the cache."""
        return 4 * batch * (self.size**2 * self.inputs + self.out_size**2 * self.outputs)


SPECS = (
    Spec(32, 16, 96, 16, kernel=5, stride=2),
    Spec(16, 16, 96, 16),
    Spec(16, 16, 64, 16, kernel=7),
    Spec(8, 40, 240, 40, kernel=5),
    Spec(4, 80, 480, 80, kernel=7),
    Spec(28, 16, 16, 16),
    Spec(7, 40, 160, 80, stride=2),
    Spec(9, 17, 50, 17),
    Spec(14, 24, 72, 40, kernel=5, stride=2, squeezed=24),
    Spec(7, 56, 336, 56, squeezed=88),
    Spec(4, 80, 480, 80, kernel=5, squeezed=120),
    Spec(9, 17, 50, 17, squeezed=13),
)
