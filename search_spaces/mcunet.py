"""Inverted residuals with elastic widths for microcontrollers (MCUNet).

The space of Lin et al., "MCUNet: Tiny Deep Learning on IoT Devices", NeurIPS 2020, §3.1, and of
"MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning", NeurIPS 2021, §4: input
resolution, widths, and per block kernel size and expansion, with ReLU6 and without h-swish and
squeeze-and-excitation, so that everything up to the logits runs in 8 bits. Where they choose one
width multiplier for the whole network, here every stage has its own.
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
class McuNet(SearchSpace):
    """A stem, a block that does not expand, stages of inverted residuals, a classifier.

    The options of the width knobs are channels: each multiplier of `width` rounded to a multiple
    of 8, equal ones once.

    Args:
        resolution: input sizes to choose from, ascending.
        channels: channels of the input image.
        classes: number of classes.
        stem: output channels of the first convolution; the fixed block after it has half as many.
        stem_stride: stride of the first convolution.
        widths: output channels of each stage.
        strides: stride of each stage's first block.
        width: multipliers of the channels that the stem and each stage may have.
        depth: numbers of blocks a stage may have.
        kernel: depthwise kernel sizes a block may have.
        expand: expansion ratios a block may have.
        patches: into how many patches along each side the first stages may be cut on
            microcontrollers, 1 for none; a knob where there is more than that.
        patched_stages: how many stages may run so, 0 for the stem alone.
    """

    __pydantic_config__ = PARAMETERS
    name = "mcunet"
    version = 1

    resolution: tuple[int, ...] = (96, 112, 128, 144, 160, 176)
    channels: int = 3
    classes: int = 1000
    stem: int = 32
    stem_stride: int = 2
    widths: tuple[int, ...] = (24, 40, 80, 96, 192)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2)
    width: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    depth: tuple[int, ...] = (1, 2, 3, 4)
    kernel: tuple[int, ...] = (3, 5, 7)
    expand: tuple[float, ...] = (3, 4, 6)
    patches: tuple[int, ...] = (1,)
    patched_stages: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        """Check that the parameters describe networks that exist, each of them once."""
        if len(self.strides) != len(self.widths):
            raise InputError(f"strides: needs one entry for each of the {len(self.widths)} widths")
        if min(self.depth, default=0) < 1:
            raise InputError("depth: a stage has at least 1 block, its first one downsamples")
        if any(kernel % 2 == 0 for kernel in self.kernel):
            raise InputError(f"kernel: sizes must be odd, got {list(self.kernel)}")
        for name in ("resolution", "widths", "strides", "width", "kernel", "expand"):
            if min(getattr(self, name), default=0) <= 0:
                raise InputError(f"{name}: needs positive numbers, got {list(getattr(self, name))}")
        if min(self.patches, default=0) < 1:
            raise InputError(f"patches: needs positive numbers, got {list(self.patches)}")
        if not self.patched_stages or not set(self.patched_stages) <= set(
            range(len(self.widths) + 1)
        ):
            raise InputError(
                f"patched_stages: {list(self.patched_stages)} must be some of 0 (the stem) to "
                f"{len(self.widths)}"
            )
        if min(self.channels, self.stem, self.stem_stride) <= 0 or self.classes < 2:
            raise InputError("channels, stem and stem_stride must be positive, classes >= 2")
        every = {divisible(c / 2) for c in self._options(self.stem)}
        every |= {features for stage in self.widths for features in self._options(stage)}
        for features in sorted(every):
            if len({divisible(features * ratio) for ratio in self.expand}) < len(self.expand):
                raise InputError(
                    f"expand: two of {list(self.expand)} give blocks of {features} channels equal "
                    "expanded channels (multiples of 8): leave one out"
                )

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """`resolution`, `stem.width`, per stage `width` and `depth`, per block two more.

        Where there is a choice of `patches`, that and `patched_stages` come last.
        """
        knobs = [
            Knob("resolution", self.resolution, static=True),
            Knob("stem.width", self._options(self.stem)),
        ]
        for s, features in enumerate(self.widths):
            knobs.append(Knob(f"s{s}.width", self._options(features)))
            knobs.append(Knob(f"s{s}.depth", self.depth))
            for i in range(max(self.depth)):
                knobs.append(Knob(f"s{s}.b{i}.kernel", self.kernel))
                knobs.append(Knob(f"s{s}.b{i}.expand", self.expand))
        if self._in_patches:
            knobs.append(Knob("patches", self.patches, schedule=True))
            knobs.append(Knob("patched_stages", self.patched_stages, schedule=True))
        return tuple(knobs)

    def define(self, b: Builder) -> Tensor:
        """Stem, stages, head."""
        resolution = int(b.pick("resolution"))
        x = b.input("image", (resolution, resolution, self.channels))
        with b.block("stem"):
            features = int(b.pick("stem.width"))
            x = b.conv("conv", x, features, 3, self.stem_stride)
            x = b.activation("act", b.batch_norm("bn", x), "relu6")
            narrow = divisible(features / 2)
            x = inverted_residual(b, x, None, 3, 1, narrow, "relu6", residual=False)
        self._cut(b, 0)
        for s in range(len(self.widths)):
            with b.scope(f"s{s}"):
                features = int(b.pick(f"s{s}.width"))
                x = b.repeat(f"s{s}.depth", x, self._stage(b, s, features))
            self._cut(b, s + 1)
        with b.block("head"):
            x = b.node("pool", "global_pool", (x,))
            x = b.node("flat", "reshape", (x,), shape=(b.channels(x),))
            return b.dense("logits", x, self.classes)

    def _stage(self, b: Builder, s: int, features: int) -> Callable[[Tensor, int], Tensor]:
        def body(x: Tensor, i: int) -> Tensor:
            stride = self.strides[s] if i == 0 else 1
            kernel = int(b.pick(f"s{s}.b{i}.kernel"))
            expanded = divisible(b.channels(x) * float(b.pick(f"s{s}.b{i}.expand")))
            # Not the first block: whether its channels stay would depend on knobs.
            return inverted_residual(
                b, x, expanded, kernel, stride, features, "relu6", residual=i > 0
            )

        return body

    @property
    def _in_patches(self) -> bool:
        return self.patches != (1,)

    def _cut(self, b: Builder, stages: int) -> None:
        if self._in_patches and stages in self.patched_stages:
            b.cut("patches", "patched_stages", stages)

    def _options(self, features: int) -> tuple[int, ...]:
        return tuple(sorted({divisible(features * multiplier) for multiplier in self.width}))
