"""RAM and flash of whole populations: planned once for each block, then a look-up."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from hw_profiles.mcu.arena import arena, flash_bytes
from hw_profiles.mcu.lower import Int8Network, lower
from hw_profiles.mcu.patches import block_parts, in_patches, joined, largest
from hw_profiles.weights import random_params
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.extremes import Extreme, cheapest
from search_spaces.ir.graph import Graph
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.patches import BlockPatches
from search_spaces.ir.quantize import quantize_for_timing
from search_spaces.space import Archs

KIB = 1024


def unweighted(graph: Graph) -> Int8Network:
    """The layers of a network with weights of any kind: memory does not depend on them.

    Those of its patches, where it runs in patches.
    """
    return in_patches(lowered(graph), graph)


def lowered(graph: Graph) -> Int8Network:
    """The same, whole."""
    quantized = quantize_for_timing(fold_batchnorm(graph), whole=True)
    return lower(quantized, random_params(quantized, np.random.default_rng(0)))


@dataclass(frozen=True)
class BlockMemory:
    """Memory of the architectures of a space, on any core: SIMD kernels or not.

    A block runs in the arena with its input and its output, and blocks follow one another, so the
    network needs what its hungriest block needs. Whole networks may need a little more where the
    placements of neighbours do not fit together (`arena.arena` tells what one really needs).

    Args:
        blocks: of the space.
    """

    blocks: BlockMap

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
    def _bytes(self) -> Int[np.ndarray, "u 2"]:
        """Arena and constants of each unit."""
        return np.array([_needs(unit) for unit in self.blocks.units], np.int64).reshape(-1, 2)

    def peak_sram_kib(self, archs: Archs) -> Float[np.ndarray, " n"]:
        """KiB of the arena of each architecture."""
        padded = np.append(self._bytes[:, 0], 0)
        return padded[self.blocks.index(archs)].max(1) / KIB

    def flash_kib(self, archs: Archs) -> Float[np.ndarray, " n"]:
        """KiB of each architecture's constants: weights, factors, tables; code comes on top."""
        return self.blocks.total(self._bytes[:, 1], archs) / KIB

    def reachable(self, metric: str) -> tuple[Extreme, Extreme]:
        """Architectures with the least and the most of `peak_sram_kib` or `flash_kib`."""
        if metric == "flash_kib":
            per_unit = self._bytes[:, 1] / KIB
            least, most = cheapest(self.blocks, per_unit), cheapest(self.blocks, -per_unit)
        else:
            per_unit = self._bytes[:, 0] / KIB
            least = cheapest(self.blocks, per_unit, np.maximum)
            most = cheapest(self.blocks, -per_unit, np.minimum)
        return least, Extreme(most.arch, -most.value)


def _needs(unit: Graph) -> tuple[int, int]:
    network, cut, resident = lowered(unit), unit.patches, 0
    every = network
    if isinstance(cut, BlockPatches):
        parts, resident = block_parts(network, cut), cut.resident
        network, every = largest(parts), joined(parts)
    return arena(network, simd=None).arena_bytes + resident, flash_bytes(every, simd=True)


def _block_of(graph: Graph, name: str) -> str:
    return max((b for b in graph.blocks if name.startswith(f"{b}/")), key=len, default="")
