"""The space of NAS-Bench-Macro: 6,561 networks for CIFAR-10, all trained and published.

Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021, §5; what an
identity does where the shape changes is in the code published with it (xiusu/NAS-Bench-Macro).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from search_spaces.convnets import inverted_residual
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.registry import PARAMETERS
from search_spaces.space import Knob, SearchSpace

_CHOICES = ("identity", "mb3_k3", "mb6_k5")


@dataclass(frozen=True)
class NasBenchMacro(SearchSpace):
    """Layers that are each an identity or one of two inverted residuals (NAS-Bench-Macro).

    Knob `l0.op` is the first digit of a published architecture, and so on: 0 is `identity`, 1
    `mb3_k3` (expansion 3, kernel 3), 2 `mb6_k5` (expansion 6, kernel 5). In the first layer of a
    stage, where the shape changes, an identity is a strided 1x1 convolution with batch norm.

    The benchmark trained networks that differ only in where a stage's identities stand after its
    first layer once, and lists the result for all of them; here they are architectures of their
    own, with weights of their own in the super-network.

    Args:
        resolution: input sizes to choose from, ascending.
        channels: channels of the input image.
        classes: number of classes.
        stem: output channels of the first convolution.
        stem_stride: stride of the first convolution.
        widths: output channels of each stage.
        strides: stride of each stage's first layer.
        layers: number of layers of each stage.
        head: channels of the last 1x1 convolution.
    """

    __pydantic_config__ = PARAMETERS
    name = "nasbench_macro"
    version = 1

    resolution: tuple[int, ...] = (32,)
    channels: int = 3
    classes: int = 10
    stem: int = 32
    stem_stride: int = 1
    widths: tuple[int, ...] = (64, 128, 256)
    strides: tuple[int, ...] = (2, 2, 2)
    layers: tuple[int, ...] = (2, 3, 3)
    head: int = 1280

    def __post_init__(self) -> None:
        """Check that the parameters describe networks that exist."""
        stages = len(self.widths)
        for name in ("strides", "layers"):
            if len(getattr(self, name)) != stages:
                raise InputError(f"{name}: needs one entry for each of the {stages} widths")
        for name in ("resolution", "widths", "strides", "layers"):
            if min(getattr(self, name), default=0) <= 0:
                raise InputError(f"{name}: needs positive numbers, got {list(getattr(self, name))}")
        if min(self.channels, self.stem, self.stem_stride, self.head) <= 0 or self.classes < 2:
            raise InputError("channels, stem, stem_stride and head must be positive, classes >= 2")

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """`resolution`, then the choice of each layer."""
        layers = (Knob(f"l{i}.op", _CHOICES, ordered=False) for i in range(sum(self.layers)))
        return (Knob("resolution", self.resolution, static=True), *layers)

    def define(self, b: Builder) -> Tensor:
        """Stem, layers, head."""
        resolution = int(b.pick("resolution"))
        x = b.input("image", (resolution, resolution, self.channels))
        with b.block("stem"):
            x = b.batch_norm("bn", b.conv("conv", x, self.stem, 3, self.stem_stride))
            x = b.activation("act", x, "relu")
        stages = zip(self.widths, self.strides, self.layers, strict=True)
        shapes = [(w, s if i == 0 else 1) for w, s, n in stages for i in range(n)]
        for i, (features, stride) in enumerate(shapes):
            with b.block(f"l{i}"):
                x = b.branch(f"l{i}.op", _choices(b, features, stride), x)
        with b.block("head"):
            x = b.batch_norm("bn", b.pointwise("conv", x, self.head))
            x = b.node("pool", "global_pool", (b.activation("act", x, "relu"),))
            x = b.node("flat", "reshape", (x,), shape=(b.channels(x),))
            return b.dense("logits", x, self.classes)


def _choices(b: Builder, features: int, stride: int) -> Mapping[str, Callable[[Tensor], Tensor]]:
    def identity(x: Tensor) -> Tensor:
        if stride == 1 and features == b.channels(x):
            return b.node("keep", "identity", (x,))
        return b.batch_norm("bn", b.conv("conv", x, features, 1, stride))

    def mbconv(expand: int, kernel: int, x: Tensor) -> Tensor:
        expanded = expand * b.channels(x)
        return inverted_residual(b, x, expanded, kernel, stride, features, "relu", False)

    draw = (identity, partial(mbconv, 3, 3), partial(mbconv, 6, 5))
    return dict(zip(_CHOICES, draw, strict=True))
