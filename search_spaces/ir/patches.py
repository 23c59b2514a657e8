"""How the first blocks of a network run patch by patch: a matter of memory and time, not of values.

Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning", NeurIPS 2021,
section 3.1. Only microcontrollers run patches; everything else computes the graph as it is.
"""

from dataclasses import dataclass

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Patches:
    """Of a whole network: its blocks up to one make that one's map in parts.

    Args:
        side: patches along each side of that map, as many as it has positions at most.
        last: name of the last block, or layer, that runs so.
    """

    side: int
    last: str


@dataclass(frozen=True, slots=True)
class BlockPatches:
    """Of one block, as it stands in such a network.

    Args:
        rows: of the block's output, what each row of patches makes: `first <= y < end`.
        columns: the same of columns.
        reads_whole: whether the input lies there whole (the image), not in parts.
        makes_whole: whether its parts are put together to one map.
        resident: bytes in 8 bits of the image and of that map, where they are not the block's own
            but lie in memory meanwhile.
    """

    rows: tuple[Interval, ...]
    columns: tuple[Interval, ...]
    reads_whole: bool
    makes_whole: bool
    resident: int
