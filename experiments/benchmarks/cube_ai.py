"""RAM of a network as ST's X-CUBE-AI lays it out ("activations"), from a table of its layers.

Read off the C code that its versions 7 to 9 wrote for networks in public repositories, which has
the size of every array and its place in the buffer of activations:

- inputs and outputs lie in that buffer (ST's READMEs say the same);
- a window with padding reads a padded copy of its map, which may lie over the map;
- kernels have scratch memory. Of `k` weights an output channel and `c` output channels:
  convolutions `4 k + 14 c + min(2 k c, 5120)` bytes, depthwise ones `(4 k + 1) c + 1`,
  pointwise ones `4 k + 10 c`; fully connected ones `2 k`;
- a convolution and the max pool behind it are one kernel, with the rows of one window as scratch;
- an output may lie over what is read, one of its rows ahead of it; additions work in place;
  concatenations copy.

Depthwise convolutions and the pointwise ones behind them write over what they read in all of that
code; other convolutions in some of it only: `Overlap` has what is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from experiments.benchmarks.layer_tables import COPIES, Operator, Row, ends, operators
from hw_profiles.mcu.layers import IN_PLACE, Conv, Depthwise, FullyConnected, Pointwise, Window
from hw_profiles.mcu.planner import Step, bound_bytes

_WEIGHT_BUFFER = 5120


@dataclass(frozen=True)
class Overlap:
    """Which kernels may write over what they read; depthwise ones and pools always do.

    Args:
        conv: convolutions with a window.
        pointwise: those of 1x1.
    """

    conv: Literal["none", "strided", "all"]
    pointwise: Literal["after depthwise", "all"]


OVERLAPS = tuple(
    Overlap(conv, pointwise)
    for conv in ("none", "strided", "all")
    for pointwise in ("after depthwise", "all")
)


def activation_bytes(rows: Sequence[Row]) -> list[int]:
    """Bytes by each of `OVERLAPS`: what the hungriest kernel needs, all placed at best."""
    found, sizes = operators(rows)
    pools = {one.makes: pool for one in found if (pool := _pool_behind(found, one)) is not None}
    merged = {pool.makes for pool in pools.values()}
    made_by = {one.makes: one.layer for one in found}
    out = []
    for overlap in OVERLAPS:
        all_sizes, steps = dict(sizes), list[Step]()
        for one in found:
            if one.makes not in merged:
                before = made_by.get(one.reads[0]) if one.reads else None
                steps += _steps(one, pools.get(one.makes), all_sizes, overlap, before)
        out.append(bound_bytes(*ends(all_sizes, steps)))
    return out


def _steps(
    one: Operator, pool: Operator | None, sizes: dict[str, int], overlap: Overlap, before: Any
) -> list[Step]:
    """The kernel's step, after that of the padded copy where it reads one."""
    layer, reads, steps = one.layer, one.reads, []
    window = _window(one)
    if window is not None and isinstance(layer, Conv | Depthwise):
        padded = prod(_read_size(window))
        if padded > prod(window.in_size):
            copy = f"{one.makes} padded"
            sizes[copy] = padded * one.in_shape[-1]
            steps.append(Step(copy, reads, copy, in_place=reads))
            reads = (copy,)
    over = window is not None and pool is None and _overlaps(layer, overlap, before)
    below = {reads[0]: _row_ahead(window, one)} if over and window is not None else {}
    in_place = layer.op in IN_PLACE and window is None and one.op not in COPIES
    places = reads if layer.op == "add" else reads[:1]
    scratch = _scratch_bytes(layer)
    pooled = _window(pool) if pool is not None else None
    if pooled is not None:
        scratch += pooled.kernel[0] * pooled.in_size[1] * one.out_shape[-1]
    makes = one.makes if pool is None else pool.makes
    places = tuple(dict.fromkeys(places)) if in_place else ()
    return [*steps, Step(one.makes, reads, makes, scratch, places, below)]


def _overlaps(layer: Any, overlap: Overlap, before: Any) -> bool:
    if isinstance(layer, Pointwise):
        return overlap.pointwise == "all" or isinstance(before, Depthwise)
    if isinstance(layer, Conv):
        strided = overlap.conv == "strided" and layer.window.stride != (1, 1)
        return overlap.conv == "all" or strided
    return True


def _scratch_bytes(layer: Any) -> int:
    if isinstance(layer, FullyConnected):
        return 2 * layer.weight.shape[1]
    if isinstance(layer, Depthwise):
        return (4 * prod(layer.window.kernel) + 1) * layer.weight.shape[2] + 1
    if not isinstance(layer, Conv | Pointwise):
        return 0
    channels, weights = layer.weight.shape[0], layer.weight[0].size
    if isinstance(layer, Pointwise):
        return 4 * weights + 10 * channels
    return 4 * weights + 14 * channels + min(2 * weights * channels, _WEIGHT_BUFFER)


def _pool_behind(found: Sequence[Operator], one: Operator) -> Operator | None:
    """The max pool that alone reads what a convolution makes."""
    readers = [other for other in found if one.makes in other.reads]
    alone = isinstance(one.layer, Conv) and len(readers) == 1 and readers[0].layer.op == "max_pool"
    return readers[0] if alone else None


def _window(one: Operator) -> Window | None:
    """The window that goes over the rows of a map; of 1x1 for a pointwise convolution."""
    if isinstance(one.layer, Pointwise) and len(one.in_shape) == 3:
        return Window.same(one.in_shape[:2], (1, 1), (1, 1))
    return getattr(one.layer, "window", None)


def _read_size(window: Window) -> tuple[int, int]:
    """Height and width of the map with its padding."""
    sides = zip(window.in_size, window.out_size, window.kernel, window.stride, strict=True)
    height, width = (max(size, (out - 1) * s + k) for size, out, k, s in sides)
    return height, width


def _row_ahead(window: Window, one: Operator) -> int:
    """Bytes below the map that is read at which the output starts, to be a row ahead of it."""
    made = window.out_size[1] * one.out_shape[-1]
    read = _read_size(window)[1] * one.in_shape[-1] * window.stride[0]
    return max((y + 1) * made - y * read for y in range(window.out_size[0]))
