"""Layers of networks whose latencies on microcontrollers are published by name only.

MCUNet (Lin et al., "MCUNet", NeurIPS 2020) and its MobileNetV2: the `net_config` files of
github.com/mit-han-lab/tinyml, `mcunet/assets/configs`, and mcunet-5fps_vww.json of its model zoo
(vww1). The zoo's vww0, vww2 and proxyless-w0.3 could not be found. MLPerf Tiny (Banbury et al.,
NeurIPS 2021): github.com/mlcommons/tiny, `benchmark/training`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from experiments.benchmarks.layer_tables import Row

# Kernel, expansion, output channels, stride of each inverted residual.
Block = tuple[int, int, int, int]
_STEM: Block = (3, 1, 8, 1)


@dataclass
class _Table:
    """Rows of a network's table as they are added: each reads what the one before made."""

    shape: tuple[int, ...]
    rows: list[Row] = field(default_factory=list)
    last: str = "0"

    def add(
        self,
        op: str,
        made: tuple[int, ...],
        kernel: tuple[int, int] = (0, 0),
        stride: int = 0,
        also: str = "",
    ) -> str:
        """A row; returns the number of the tensor that it makes."""
        makes = str(len(self.rows) + 1)
        reads = f"{self.last} {also}".strip()
        self.rows.append(
            {
                "op": op,
                "in_shape": _text(self.shape),
                "out_shape": _text(made),
                "kh": kernel[0],
                "kw": kernel[1],
                "stride": stride,
                "act_inputs": reads,
                "n_act_inputs": len(reads.split()),
                "outputs": makes,
            }
        )
        self.shape, self.last = made, makes
        return makes

    def conv(self, channels: int, kernel: tuple[int, int] = (1, 1), stride: int = 1) -> str:
        """A convolution with SAME padding; depthwise where no channels are given."""
        height, width, c_in = self.shape
        made = (-(-height // stride), -(-width // stride), channels or c_in)
        return self.add("CONV_2D" if channels else "DEPTHWISE_CONV_2D", made, kernel, stride)

    def back(self, tensor: str, shape: tuple[int, ...]) -> None:
        """The next row reads that tensor."""
        self.last, self.shape = tensor, shape

    def head(self, classes: int) -> None:
        """Global average pool, classifier, softmax."""
        self.add("MEAN", (self.shape[-1],))
        self.add("FULLY_CONNECTED", (classes,))
        self.add("SOFTMAX", (classes,))


def _inverted_residuals(
    resolution: int, stem: int, blocks: Sequence[Block], classes: int, mix: int = 0
) -> list[Row]:
    table = _Table((resolution, resolution, 3))
    table.conv(stem, (3, 3), 2)
    for kernel, expansion, channels, stride in blocks:
        first, shape = table.last, table.shape
        if expansion > 1:
            table.conv(expansion * shape[-1])
        table.conv(0, (kernel, kernel), stride)
        table.conv(channels)
        if table.shape == shape:
            table.add("ADD", shape, also=first)
    if mix:
        table.conv(mix)
    table.head(classes)
    return table.rows


def _resnet8() -> list[Row]:
    table = _Table((32, 32, 3))
    table.conv(16, (3, 3))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        first, shape = table.last, table.shape
        table.conv(channels, (3, 3), stride)
        body, made = table.conv(channels, (3, 3)), table.shape
        if stride > 1:
            table.back(first, shape)
            first = table.conv(channels, (1, 1), stride)
        table.back(body, made)
        table.add("ADD", made, also=first)
    table.head(10)
    return table.rows


def _ds_cnn() -> list[Row]:
    table = _Table((49, 10, 1))
    table.conv(64, (10, 4), 2)
    for _ in range(4):
        table.conv(0, (3, 3))
        table.conv(64)
    table.head(12)
    return table.rows


def _mobilenet_v1() -> list[Row]:
    table = _Table((96, 96, 3))
    table.conv(8, (3, 3), 2)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    widths = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    for channels, stride in zip(widths, strides, strict=True):
        table.conv(0, (3, 3), stride)
        table.conv(channels)
    table.head(2)
    return table.rows


def _autoencoder() -> list[Row]:
    table = _Table((640,))
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        table.add("FULLY_CONNECTED", (width,))
    return table.rows


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, (1, *shape)))


# fmt: off
_VWW1 = (
    _STEM, (3, 6, 16, 2), (3, 3, 16, 1), (3, 3, 16, 1), (7, 3, 24, 2), (3, 6, 24, 1), (5, 5, 24, 1),
    (7, 6, 40, 2), (7, 6, 40, 1), (3, 6, 48, 1), (3, 4, 48, 1), (5, 5, 96, 2), (3, 5, 96, 1),
    (3, 4, 96, 1), (7, 3, 160, 1),
)
_IN0 = (
    (3, 1, 16, 1), (5, 4, 16, 2), (3, 3, 16, 1), (3, 4, 16, 1), (7, 5, 24, 2), (5, 4, 24, 1),
    (5, 5, 24, 1), (7, 5, 48, 2), (5, 4, 48, 1), (3, 5, 56, 1), (5, 4, 56, 1), (3, 5, 56, 1),
    (3, 6, 112, 2), (5, 4, 112, 1), (3, 6, 192, 1),
)
_IN1 = (
    _STEM, (3, 4, 16, 2), (3, 3, 16, 1), (7, 3, 24, 2), (3, 5, 24, 1), (3, 5, 40, 2), (7, 4, 40, 1),
    (5, 4, 48, 1), (3, 3, 48, 1), (3, 4, 48, 1), (7, 5, 96, 2), (5, 4, 96, 1), (5, 4, 96, 1),
    (3, 6, 160, 1),
)
_IN2 = (
    _STEM, (5, 3, 16, 2), (7, 6, 16, 1), (3, 5, 16, 1), (5, 5, 16, 1), (3, 5, 24, 2), (7, 6, 24, 1),
    (5, 6, 24, 1), (7, 4, 40, 2), (5, 5, 40, 1), (3, 5, 48, 1), (5, 5, 48, 1), (3, 4, 48, 1),
    (5, 6, 96, 2), (5, 4, 96, 1), (5, 3, 96, 1), (3, 4, 96, 1), (5, 5, 160, 1),
)
_IN3 = (
    _STEM, (7, 3, 16, 2), (3, 5, 16, 1), (7, 5, 16, 1), (5, 4, 16, 1), (5, 5, 24, 2), (5, 5, 24, 1),
    (5, 5, 24, 1), (3, 5, 40, 2), (7, 6, 40, 1), (5, 4, 40, 1), (5, 5, 48, 1), (7, 5, 48, 1),
    (3, 5, 48, 1), (3, 6, 96, 2), (7, 5, 96, 1), (3, 4, 96, 1), (7, 5, 160, 1),
)
_IN4 = (
    (3, 1, 16, 1), (7, 3, 24, 2), (3, 5, 24, 1), (5, 4, 24, 1), (7, 5, 40, 2), (3, 4, 40, 1),
    (7, 4, 40, 1), (7, 3, 80, 2), (3, 3, 80, 1), (7, 3, 80, 1), (3, 4, 96, 1), (5, 3, 96, 1),
    (5, 3, 96, 1), (7, 4, 192, 2), (7, 3, 192, 1), (5, 3, 192, 1), (5, 4, 320, 1),
)
_MOBILENET_V2_03 = (
    _STEM, (3, 6, 8, 2), (3, 6, 8, 1), (3, 6, 16, 2), *2 * ((3, 6, 16, 1),), (3, 6, 24, 2),
    *3 * ((3, 6, 24, 1),), *3 * ((3, 6, 32, 1),), (3, 6, 48, 2), *2 * ((3, 6, 48, 1),),
    (3, 6, 96, 1),
)
# fmt: on

# By the names of the published tables: those of MCUNet's model zoo, and MLPerf Tiny's tasks.
NETWORKS: Mapping[str, Callable[[], list[Row]]] = {
    "mcunet-vww1": lambda: _inverted_residuals(80, 16, _VWW1, 2),
    "mcunet-in0": lambda: _inverted_residuals(48, 24, _IN0, 1000),
    "mcunet-in1": lambda: _inverted_residuals(96, 16, _IN1, 1000),
    "mcunet-in2": lambda: _inverted_residuals(160, 16, _IN2, 1000),
    "mcunet-in3": lambda: _inverted_residuals(176, 16, _IN3, 1000),
    "mcunet-in4": lambda: _inverted_residuals(160, 32, _IN4, 1000),
    "mbv2-w0.3-r64": lambda: _inverted_residuals(64, 16, _MOBILENET_V2_03, 1000, 384),
    "ic": _resnet8,
    "kws": _ds_cnn,
    "vww": _mobilenet_v1,
    "ad": _autoencoder,
}


def macs_of(rows: Sequence[Row]) -> int:
    """Multiply-accumulates of a network, from its table alone."""
    total = 0
    for row in rows:
        read, made = (
            tuple(map(int, str(row[key]).split("x")))[1:] for key in ("in_shape", "out_shape")
        )
        window = int(row["kh"]) * int(row["kw"])
        if row["op"] == "CONV_2D":
            total += prod(made) * window * read[-1]
        elif row["op"] == "DEPTHWISE_CONV_2D":
            total += prod(made) * window
        elif row["op"] == "FULLY_CONNECTED":
            total += read[-1] * made[-1]
    return total
