"""MobileNetV3 with elastic depth, kernel size, expansion and resolution (Once-for-All).

Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment", ICLR 2020,
§3.2 and §4.1, on the MobileNetV3-Large layout of Howard et al. 2019, table 1. The defaults are the
ImageNet setting at width 1.0; `strides`, `widths` and `resolution` fit it to small images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from search_spaces.convnets import divisible, inverted_residual
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.registry import PARAMETERS
from search_spaces.space import Knob, SearchSpace


@dataclass(frozen=True)
class MobileNetV3(SearchSpace):
    """Five stages of inverted residuals between a fixed stem and a fixed head.

    Args:
        resolution: input sizes to choose from, ascending.
        channels: channels of the input image.
        classes: number of classes.
        width: multiplier of every channel count, rounded to multiples of 8.
        stem: output channels of the first convolution and the fixed first block.
        stem_stride: stride of the first convolution.
        widths: output channels of each stage.
        strides: stride of each stage's first block.
        hswish: per stage, whether it uses h-swish (else relu).
        squeeze_excite: per stage, whether its blocks have squeeze-and-excitation.
        depth: numbers of blocks a stage may have.
        kernel: depthwise kernel sizes a block may have.
        expand: expansion ratios a block may have.
        head: channels of the last 1x1 convolution before and of the dense layer after pooling.
    """

    __pydantic_config__ = PARAMETERS
    name = "mobilenet_v3"
    version = 1

    resolution: tuple[int, ...] = (128, 160, 192, 224)
    channels: int = 3
    classes: int = 1000
    width: float = 1.0
    stem: int = 16
    stem_stride: int = 2
    widths: tuple[int, ...] = (24, 40, 80, 112, 160)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2)
    hswish: tuple[bool, ...] = (False, False, True, True, True)
    squeeze_excite: tuple[bool, ...] = (False, True, False, True, True)
    depth: tuple[int, ...] = (2, 3, 4)
    kernel: tuple[int, ...] = (3, 5, 7)
    expand: tuple[float, ...] = (3, 4, 6)
    head: tuple[int, int] = (960, 1280)

    def __post_init__(self) -> None:
        """Check that the parameters describe networks that exist."""
        stages = len(self.widths)
        for name in ("strides", "hswish", "squeeze_excite"):
            if len(getattr(self, name)) != stages:
                raise InputError(f"{name}: needs one entry for each of the {stages} widths")
        if min(self.depth, default=0) < 1:
            raise InputError("depth: a stage has at least 1 block, its first one downsamples")
        if any(k % 2 == 0 for k in self.kernel):
            raise InputError(f"kernel: sizes must be odd, got {list(self.kernel)}")
        for name in ("resolution", "widths", "strides", "kernel", "expand", "head"):
            if min(getattr(self, name), default=0) <= 0:
                raise InputError(f"{name}: needs positive numbers, got {list(getattr(self, name))}")
        if min(self.channels, self.stem, self.stem_stride, self.width) <= 0 or self.classes < 2:
            raise InputError("channels, stem, stem_stride and width must be positive, classes >= 2")

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """`resolution`, then per stage `depth` and per block `kernel` and `expand`."""
        knobs = [Knob("resolution", self.resolution, static=True)]
        for s in range(len(self.widths)):
            knobs.append(Knob(f"s{s}.depth", self.depth))
            for i in range(max(self.depth)):
                knobs.append(Knob(f"s{s}.b{i}.kernel", self.kernel))
                knobs.append(Knob(f"s{s}.b{i}.expand", self.expand))
        return tuple(knobs)

    def define(self, b: Builder) -> Tensor:
        """Stem, fixed block, stages, head."""
        resolution = int(b.pick("resolution"))
        x = b.input("image", (resolution, resolution, self.channels))
        with b.block("stem"):
            x = b.conv("conv", x, self._scaled(self.stem), 3, self.stem_stride)
            x = b.activation("act", b.batch_norm("bn", x), "hswish")
            x = inverted_residual(b, x, None, 3, 1, b.channels(x), "relu", False)
        for s in range(len(self.widths)):
            with b.scope(f"s{s}"):
                x = b.repeat(f"s{s}.depth", x, self._stage(b, s))
        with b.block("head"):
            x = b.pointwise("conv", x, self._scaled(self.head[0]))
            x = b.activation("act", b.batch_norm("bn", x), "hswish")
            x = b.node("pool", "global_pool", (x,))
            x = b.pointwise("mix", x, self._scaled(self.head[1]))
            x = b.activation("mix_act", x, "hswish")
            x = b.node("flat", "reshape", (x,), shape=(b.channels(x),))
            return b.dense("logits", x, self.classes)

    def _stage(self, b: Builder, s: int) -> Callable[[Tensor, int], Tensor]:
        activation = "hswish" if self.hswish[s] else "relu"

        def body(x: Tensor, i: int) -> Tensor:
            stride = self.strides[s] if i == 0 else 1
            kernel = int(b.pick(f"s{s}.b{i}.kernel"))
            ratio = float(b.pick(f"s{s}.b{i}.expand"))
            expanded = divisible(b.channels(x) * ratio) if max(self.expand) > 1 else None
            features = self._scaled(self.widths[s])
            return inverted_residual(
                b, x, expanded, kernel, stride, features, activation, self.squeeze_excite[s]
            )

        return body

    def _scaled(self, channels: int) -> int:
        return divisible(channels * self.width)
