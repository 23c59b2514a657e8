"""ResNet-50 with elastic depth, widths, bottlenecks and resolution (Once-for-All).

The second space of Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient
Deployment", ICLR 2020, as published with its code (`ofa_resnet50`), on the ResNet-50-D of He et
al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019, §4.
The defaults are the ImageNet setting; `strides`, `widths` and `resolution` fit it to small images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from search_spaces.convnets import divisible
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.registry import PARAMETERS
from search_spaces.space import Knob, SearchSpace


@dataclass(frozen=True)
class ResNet(SearchSpace):
    """Stages of bottleneck blocks after a deep stem, every width elastic (ResNet-D).

    The options of the width knobs are channels: each multiplier of `width` rounded to a multiple
    of 8, equal ones once.

    Args:
        resolution: input sizes to choose from, ascending.
        channels: channels of the input image.
        classes: number of classes.
        stem: output channels of the stem; its first convolutions have half as many.
        stem_strides: strides of the stem's first convolution and of the max pool that ends it; a
            pool of stride 1 is left out.
        stem_depth: numbers of residual convolutions that the stem may have in its middle.
        widths: output channels of each stage.
        strides: stride of each stage's first block.
        base_depth: number of blocks of each stage that `depth` adds to.
        depth: numbers of blocks a stage may have beyond its `base_depth`.
        expand: inner channels that a block may have, relative to its output channels.
        width: multipliers of the channels that the stem and each stage may have.
    """

    __pydantic_config__ = PARAMETERS
    name = "resnet"
    version = 1

    resolution: tuple[int, ...] = (128, 160, 192, 224)
    channels: int = 3
    classes: int = 1000
    stem: int = 64
    stem_strides: tuple[int, int] = (2, 2)
    stem_depth: tuple[int, ...] = (0, 1)
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    base_depth: tuple[int, ...] = (2, 2, 4, 2)
    depth: tuple[int, ...] = (0, 1, 2)
    expand: tuple[float, ...] = (0.2, 0.25, 0.35)
    width: tuple[float, ...] = (0.65, 0.8, 1.0)

    def __post_init__(self) -> None:
        """Check that the parameters describe networks that exist, each of them once."""
        stages = len(self.widths)
        for name in ("strides", "base_depth"):
            if len(getattr(self, name)) != stages:
                raise InputError(f"{name}: needs one entry for each of the {stages} widths")
        for name in ("resolution", "widths", "expand", "width"):
            if min(getattr(self, name), default=0) <= 0:
                raise InputError(f"{name}: needs positive numbers, got {list(getattr(self, name))}")
        for name in ("stem_strides", "strides"):
            if not {1, 2}.issuperset(getattr(self, name)):
                raise InputError(f"{name}: must be 1 or 2, got {list(getattr(self, name))}")
        if min(self.channels, self.stem) <= 0 or self.classes < 2:
            raise InputError("channels and stem must be positive, classes >= 2")
        if min(self.stem_depth, default=0) < 0:
            raise InputError(f"stem_depth: can't be negative, got {list(self.stem_depth)}")
        if min(self.base_depth) + min(self.depth, default=0) < 1:
            raise InputError("depth: a stage has at least 1 block, its first one downsamples")
        for features in (option for stage in self.widths for option in self._options(stage)):
            if len({_inner(features, ratio) for ratio in self.expand}) < len(self.expand):
                raise InputError(
                    f"expand: two of {list(self.expand)} give blocks of {features} channels equal "
                    "inner channels (multiples of 8): leave one out"
                )

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """`resolution`, three of the stem, per stage `width` and `depth`, per block `expand`."""
        stem = self._options(self.stem)
        knobs = [
            Knob("resolution", self.resolution, static=True),
            Knob("stem.mid", tuple(sorted({divisible(features // 2) for features in stem}))),
            Knob("stem.depth", self.stem_depth),
            Knob("stem.width", stem),
        ]
        for s, (features, base) in enumerate(zip(self.widths, self.base_depth, strict=True)):
            knobs.append(Knob(f"s{s}.width", self._options(features)))
            knobs.append(Knob(f"s{s}.depth", tuple(base + more for more in self.depth)))
            blocks = range(base + max(self.depth))
            knobs.extend(Knob(f"s{s}.b{i}.expand", self.expand) for i in blocks)
        return tuple(knobs)

    def define(self, b: Builder) -> Tensor:
        """Stem, stages, head."""
        resolution = int(b.pick("resolution"))
        x = b.input("image", (resolution, resolution, self.channels))
        with b.scope("stem"):
            x = self._stem(b, x)
        for s in range(len(self.widths)):
            with b.scope(f"s{s}"):
                features = int(b.pick(f"s{s}.width"))
                x = b.repeat(f"s{s}.depth", x, self._stage(b, s, features))
        with b.block("head"):
            x = b.node("pool", "global_pool", (x,))
            x = b.node("flat", "reshape", (x,), shape=(b.channels(x),))
            return b.dense("logits", x, self.classes)

    def _stem(self, b: Builder, x: Tensor) -> Tensor:
        mid = int(b.pick("stem.mid"))
        stride, pool_stride = self.stem_strides

        def residual(x: Tensor, _: int) -> Tensor:
            return b.add("add", x, _conv(b, "conv", x, mid, 3))

        with b.block("in"):
            x = _conv(b, "conv", x, mid, 3, stride)
        x = b.repeat("stem.depth", x, residual)
        with b.block("out"):
            x = _conv(b, "conv", x, int(b.pick("stem.width")), 3)
            if pool_stride == 1:
                return x
            return b.node("pool", "max_pool", (x,), kernel=3, stride=pool_stride, padding=1)

    def _stage(self, b: Builder, s: int, features: int) -> Callable[[Tensor, int], Tensor]:
        def body(x: Tensor, i: int) -> Tensor:
            inner = _inner(features, float(b.pick(f"s{s}.b{i}.expand")))
            shortcut = x if i else _projection(b, x, features, self.strides[s])
            y = _conv(b, "reduce", x, inner, 1)
            y = _conv(b, "conv", y, inner, 3, 1 if i else self.strides[s])
            y = b.batch_norm("expand_bn", b.pointwise("expand", y, features))
            return b.activation("act", b.add("add", shortcut, y), "relu")

        return body

    def _options(self, features: int) -> tuple[int, ...]:
        return tuple(sorted({divisible(features * multiplier) for multiplier in self.width}))


def _inner(features: int, ratio: float) -> int:
    return divisible(round(features * ratio))


def _conv(b: Builder, name: str, x: Tensor, features: int, kernel: int, stride: int = 1) -> Tensor:
    """Convolution, batch norm, relu."""
    x = b.pointwise(name, x, features) if kernel == 1 else b.conv(name, x, features, kernel, stride)
    return b.activation(f"{name}_act", b.batch_norm(f"{name}_bn", x), "relu")


def _projection(b: Builder, x: Tensor, features: int, stride: int) -> Tensor:
    """Shortcut of a stage's first block: average pool, 1x1 convolution.

    In maps of odd size the pool's incomplete window is the first one; in Once-for-All's code it is
    the last one (`ceil_mode`), the same up to a reflection.
    """
    with b.scope("shortcut"):
        if stride > 1:
            padding = b.shape(x)[0] % 2
            x = b.node("pool", "avg_pool", (x,), kernel=2, stride=2, padding=padding)
        return b.batch_norm("bn", b.pointwise("project", x, features))
