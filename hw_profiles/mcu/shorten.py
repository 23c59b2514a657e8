"""Tall layers from short ones: a kernel's time is linear in the rows that it computes.

All rows between the upper and the lower border cost the same, so a tall layer is run twice, with
few and with some more rows, and its time follows: emulating it whole changes that by some tenths of
a percent (branch prediction, rows of padding), as a test holds.
"""

from dataclasses import replace

from hw_profiles.mcu.layers import (
    Add,
    AveragePool,
    Conv,
    Depthwise,
    GlobalPool,
    Layer,
    MaxPool,
    Multiply,
    Pointwise,
    Table,
)

_Mapped = Conv | Depthwise | AveragePool | MaxPool
# Rows of a map, and positions or values where there are no rows. Even, as kernels take pairs; and
# enough that what a layer does once weighs little.
_ROWS, _VALUES = (8, 16), (48, 96)


def shortened(layer: Layer) -> tuple[Layer, Layer, float] | None:
    """A short and a longer form of a tall layer.

    Returns:
        Both, and the factor `f` of `long + f * (long - short)`; None where the layer is as short.
    """
    if isinstance(layer, Conv | Depthwise | AveragePool | MaxPool):
        rows, few, more = layer.window.out_size[0], *_ROWS
        short, long = (_with_rows(layer, n) for n in _ROWS)
    elif isinstance(layer, Pointwise | GlobalPool | Multiply):
        rows, (few, more) = layer.positions, (n + layer.positions % 2 for n in _VALUES)
        short, long = replace(layer, positions=few), replace(layer, positions=more)
    elif isinstance(layer, Add | Table):
        rows, few, more = layer.size, *_VALUES
        short, long = replace(layer, size=few), replace(layer, size=more)
    else:
        return None
    return (short, long, (rows - more) / (more - few)) if rows > 2 * more else None


def _with_rows(layer: _Mapped, rows: int) -> _Mapped:
    window = layer.window
    out_h, out_w = window.out_size
    if rows >= out_h:
        return layer
    in_h = window.in_size[0] - (out_h - rows) * window.stride[0]
    cut = replace(window, in_size=(in_h, window.in_size[1]), out_size=(rows, out_w))
    return replace(layer, window=cut)
