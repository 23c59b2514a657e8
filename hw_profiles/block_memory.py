"""RAM and flash of whole populations: known for each block, then a look-up."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.extremes import Extreme, cheapest
from search_spaces.ir.graph import Graph
from search_spaces.space import Archs


@dataclass(frozen=True)
class BlockMemory:
    """Memory of the architectures of a space.

    A block runs with its input and its output in RAM, and blocks follow one another, so the network
    needs what its hungriest block needs. Whole networks may need a little more where the placements
    of neighbours do not fit together.

    Args:
        blocks: of the space.
        needs: KiB of RAM and of flash of each unit; asked once, when it is first needed.

    Raises:
        InputError: the blocks do not form a chain.
    """

    blocks: BlockMap
    needs: Callable[[], Float[np.ndarray, "u 2"]]

    def __post_init__(self) -> None:
        """Refuse spaces whose blocks do not form a chain."""
        graph = self.blocks.space.build(None)
        order = {name: i for i, name in enumerate(graph.blocks)}
        for node in graph.nodes:
            for source in node.inputs:
                here, there = _block_of(graph, node.name), _block_of(graph, source)
                if source not in graph.inputs and order[here] - order[there] > 1:
                    raise InputError(
                        f"space {self.blocks.space.name}: block {here!r} reads {source!r} of a "
                        "block that is not just before it: peak_sram_kib can't be told from blocks"
                    )

    @cached_property
    def _kib(self) -> Float[np.ndarray, "u 2"]:
        return self.needs()

    def peak_sram_kib(self, archs: Archs) -> Float[np.ndarray, " n"]:
        """KiB of RAM of each architecture."""
        padded = np.append(self._kib[:, 0], 0.0)
        return padded[self.blocks.index(archs)].max(1)

    def flash_kib(self, archs: Archs) -> Float[np.ndarray, " n"]:
        """KiB of flash of each architecture."""
        return self.blocks.total(self._kib[:, 1], archs)

    def reachable(self, metric: str) -> tuple[Extreme, Extreme]:
        """Architectures with the least and the most of `peak_sram_kib` or `flash_kib`."""
        if metric == "flash_kib":
            per_unit = self._kib[:, 1]
            least, most = cheapest(self.blocks, per_unit), cheapest(self.blocks, -per_unit)
        else:
            per_unit = self._kib[:, 0]
            least = cheapest(self.blocks, per_unit, np.maximum)
            most = cheapest(self.blocks, -per_unit, np.minimum)
        return least, Extreme(most.arch, -most.value)


def _block_of(graph: Graph, name: str) -> str:
    return max((b for b in graph.blocks if name.startswith(f"{b}/")), key=len, default="")
