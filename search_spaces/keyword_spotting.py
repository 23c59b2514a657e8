"""Depthwise separable networks on spectrograms (DS-CNN), for keywords and other short sounds.

Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers", 2017, §3.6 and table 5: a first
convolution over time and frequency, depthwise separable blocks of one width, an average, a
classifier. There the width, the number of blocks, kernels and strides are searched; here too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.registry import PARAMETERS
from search_spaces.space import Knob, SearchSpace


@dataclass(frozen=True)
class KeywordSpotting(SearchSpace):
    """Depthwise separable blocks, all as wide as the first convolution.

    A spectrogram of another size is resized to `frames` x `mels`.

    Args:
        frames: height of the input: steps in time.
        mels: width of the input: bands of frequency.
        channels: channels of the input.
        classes: number of classes.
        width: numbers of channels that a network may have.
        stem_kernel: kernel sizes that the first convolution may have.
        stem_stride: stride of the first convolution.
        stride: strides that the first block may have.
        depth: numbers of blocks that a network may have.
        kernel: depthwise kernel sizes a block may have.
    """

    __pydantic_config__ = PARAMETERS
    name = "keyword_spotting"
    version = 1

    frames: int = 49
    mels: int = 40
    channels: int = 1
    classes: int = 12
    width: tuple[int, ...] = (16, 24, 32, 48, 64)
    stem_kernel: tuple[int, ...] = (3, 5, 7)
    stem_stride: int = 2
    stride: tuple[int, ...] = (1, 2)
    depth: tuple[int, ...] = (2, 3, 4, 5)
    kernel: tuple[int, ...] = (3, 5)

    def __post_init__(self) -> None:
        """Check that the parameters describe networks that exist."""
        for name in ("stem_kernel", "kernel"):
            if any(size % 2 == 0 for size in getattr(self, name)):
                raise InputError(f"{name}: sizes must be odd, got {list(getattr(self, name))}")
        for name in ("width", "stem_kernel", "stride", "depth", "kernel"):
            if min(getattr(self, name), default=0) <= 0:
                raise InputError(f"{name}: needs positive numbers, got {list(getattr(self, name))}")
        if min(self.frames, self.mels, self.channels, self.stem_stride) <= 0 or self.classes < 2:
            raise InputError(
                "frames, mels, channels and stem_stride must be positive, classes >= 2"
            )

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """`stride`, `width`, `stem.kernel`, `depth`, and per block `kernel`."""
        return (
            Knob("stride", self.stride, static=True),
            Knob("width", self.width),
            Knob("stem.kernel", self.stem_kernel),
            Knob("depth", self.depth),
            *(Knob(f"b{i}.kernel", self.kernel) for i in range(max(self.depth))),
        )

    def define(self, b: Builder) -> Tensor:
        """First convolution, blocks, head."""
        x = b.input("image", (self.frames, self.mels, self.channels))
        stride, width = int(b.pick("stride")), int(b.pick("width"))
        with b.block("stem"):
            x = b.conv("conv", x, width, int(b.pick("stem.kernel")), self.stem_stride)
            x = b.activation("act", b.batch_norm("bn", x), "relu")
        x = b.repeat("depth", x, self._block(b, stride, width))
        with b.block("head"):
            x = b.node("pool", "global_pool", (x,))
            x = b.node("flat", "reshape", (x,), shape=(width,))
            return b.dense("logits", x, self.classes)

    def _block(self, b: Builder, stride: int, width: int) -> Callable[[Tensor, int], Tensor]:
        def body(x: Tensor, i: int) -> Tensor:
            x = b.depthwise("depthwise", x, int(b.pick(f"b{i}.kernel")), 1 if i else stride)
            x = b.activation("depthwise_act", b.batch_norm("depthwise_bn", x), "relu")
            x = b.batch_norm("pointwise_bn", b.pointwise("pointwise", x, width))
            return b.activation("pointwise_act", x, "relu")

        return body
