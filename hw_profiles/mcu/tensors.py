"""What int8 tensors stand for, and where windows read them."""

from dataclasses import dataclass
from typing import Self

import numpy as np

LOWEST, HIGHEST = -128, 127


class LayerError(ValueError):
    """A layer breaks a rule of its kernel: a mistake of who made it, not of a user."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """What int8 values of a tensor stand for: `scale * (q - zero_point)`."""

    scale: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        """Scales are float32, as files hold them."""
        object.__setattr__(self, "scale", float(np.float32(self.scale)))
        if not (self.scale > 0 and LOWEST <= self.zero_point <= HIGHEST):
            raise LayerError(f"scale {self.scale}, zero point {self.zero_point}: not of int8")


@dataclass(frozen=True, slots=True)
class Window:
    """Where a window reads: output (y, x) starts at `y * stride - top`, `x * stride - left`.

    Args:
        in_size: height and width of the map.
        out_size: of what is made.
        kernel: height and width of the window.
        stride: down and to the right.
        pad: rows above and columns to the left that are zero; what lies beyond the other two
            edges is zero as well.
    """

    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Every window touches the map."""
        parts = zip(self.in_size, self.out_size, self.kernel, self.stride, self.pad, strict=True)
        for size, out, kernel, stride, pad in parts:
            if min(size, out, kernel, stride) < 1 or not 0 <= pad < kernel:
                raise LayerError(f"{self}: no such window")
            if (out - 1) * stride - pad >= size:
                raise LayerError(f"{self}: the last window reads nothing")

    @classmethod
    def same(
        cls, in_size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]
    ) -> Self:
        """SAME of TensorFlow: as many outputs as strides, the odd row of padding at the end."""
        out = (-(-in_size[0] // stride[0]), -(-in_size[1] // stride[1]))
        missing = [
            max((o - 1) * s + k - i, 0)
            for o, s, k, i in zip(out, stride, kernel, in_size, strict=True)
        ]
        return cls(in_size, out, kernel, stride, (missing[0] // 2, missing[1] // 2))

    @classmethod
    def padded(cls, in_size: tuple[int, int], kernel: int, stride: int, padding: int) -> Self:
        """A square window with as much padding on all sides, as the ops of graphs have it."""
        out_h, out_w = ((size + 2 * padding - kernel) // stride + 1 for size in in_size)
        sides = (padding, padding)
        return cls(in_size, (out_h, out_w), (kernel, kernel), (stride, stride), sides)
