"""The space of NAS-Bench-201: 15,625 cells, all trained and published on several tasks.

Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR
2020, §2.1 and fig. 1; what the networks around the cells are made of is in the code published with
it (D-X-Y/AutoDL-Projects).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.registry import PARAMETERS
from search_spaces.space import Knob, SearchSpace

_CHOICES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@dataclass(frozen=True)
class NasBench201(SearchSpace):
    """Stages of equal cells; every pair of a cell's nodes is joined by one of five operations.

    Knob `e20` is the operation from node 0, the cell's input, to node 2, and so on; its options are
    numbered as in the benchmark. A node is the sum of all that reaches it, and the last node is the
    cell's output.

    Edges that no signal reaches, or that lead nowhere, are drawn all the same: the benchmark
    trained and timed them, and each of its 15,625 architectures has a result of its own.
    `predictors.descriptors` see the cell without them.

    One thing differs from the published networks: batch norm after the last cell follows a
    depthwise 1x1 convolution here, since it has to follow a linear operation to be folded.

    Args:
        resolution: input sizes to choose from, ascending.
        channels: channels of the input image.
        classes: number of classes.
        widths: channels of each stage; between two stages a residual block halves the map.
        cells: number of cells of each stage.
        nodes: nodes of a cell, its input and output counted.
    """

    __pydantic_config__ = PARAMETERS
    name = "nasbench201"
    version = 1

    resolution: tuple[int, ...] = (32,)
    channels: int = 3
    classes: int = 10
    widths: tuple[int, ...] = (16, 32, 64)
    cells: int = 5
    nodes: int = 4

    def __post_init__(self) -> None:
        """Check that the parameters describe networks that exist."""
        for name in ("resolution", "widths"):
            if min(getattr(self, name), default=0) <= 0:
                raise InputError(f"{name}: needs positive numbers, got {list(getattr(self, name))}")
        if min(self.channels, self.cells) <= 0 or self.classes < 2:
            raise InputError("channels and cells must be positive, classes >= 2")
        if not 2 <= self.nodes <= 10:
            raise InputError(f"nodes: a cell has 2 to 10, got {self.nodes}")

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """`resolution`, then the operation of each edge: e10, e20, e21, e30, ..."""
        edges = (Knob(f"e{i}{j}", _CHOICES, ordered=False) for i, j in self._edges)
        return (Knob("resolution", self.resolution, static=True), *edges)

    @property
    def _edges(self) -> list[tuple[int, int]]:
        """Target and source of each edge."""
        return [(i, j) for i in range(1, self.nodes) for j in range(i)]

    def define(self, b: Builder) -> Tensor:
        """Stem, stages of cells with reductions between them, head."""
        resolution = int(b.pick("resolution"))
        x = b.input("image", (resolution, resolution, self.channels))
        with b.block("stem"):
            x = b.batch_norm("bn", b.conv("conv", x, self.widths[0], 3))
        for s, width in enumerate(self.widths):
            with b.scope(f"s{s}"):
                if s > 0:
                    with b.block("reduce"):
                        x = _reduction(b, x, width)
                for c in range(self.cells):
                    with b.scope(f"c{c}"):
                        x = self._cell(b, x)
        with b.block("head"):
            x = b.batch_norm("bn", b.depthwise("scale", x, 1))
            x = b.node("pool", "global_pool", (b.activation("act", x, "relu"),))
            x = b.node("flat", "reshape", (x,), shape=(b.channels(x),))
            return b.dense("logits", x, self.classes)

    def _cell(self, b: Builder, x: Tensor) -> Tensor:
        made = [x]
        for i in range(1, self.nodes):
            parts = []
            for j in range(i):
                with b.block(f"e{i}{j}"):
                    parts.append(b.branch(f"e{i}{j}", _operations(b), made[j]))
            if i == 1:
                made += parts
                continue
            with b.block(f"n{i}"):
                total = parts[0]
                for k, part in enumerate(parts[1:], 1):
                    total = b.add(f"add{k}", total, part)
            made.append(total)
        return made[-1]


def _operations(b: Builder) -> Mapping[str, Callable[[Tensor], Tensor]]:
    window = {"kernel": 3, "stride": 1, "padding": 1}
    draw = (
        lambda x: b.node("zero", "zero", (x,)),
        lambda x: b.node("keep", "identity", (x,)),
        lambda x: _convolution(b, "", x, b.channels(x), 1),
        lambda x: _convolution(b, "", x, b.channels(x), 3),
        lambda x: b.node("pool", "avg_pool", (x,), **window),
    )
    return dict(zip(_CHOICES, draw, strict=True))


def _convolution(
    b: Builder, prefix: str, x: Tensor, features: int, kernel: int, stride: int = 1
) -> Tensor:
    """ReLU, convolution, batch norm."""
    x = b.activation(f"{prefix}act", x, "relu")
    draw = partial(b.conv, kernel=kernel, stride=stride) if kernel > 1 else b.pointwise
    return b.batch_norm(f"{prefix}bn", draw(f"{prefix}conv", x, features))


def _reduction(b: Builder, x: Tensor, features: int) -> Tensor:
    """Residual block of stride 2 (He et al. 2016), with average pooling on the short way."""
    y = _convolution(b, "a_", x, features, 3, 2)
    y = _convolution(b, "b_", y, features, 3)
    short = b.node("pool", "avg_pool", (x,), kernel=2, stride=2, padding=0)
    return b.add("add", y, b.pointwise("short", short, features))
