"""RAM and flash that a microcontroller needs for the blocks of a space."""

import numpy as np

from hw_profiles.block_memory import BlockMemory
from hw_profiles.mcu.arena import arena, flash_bytes
from hw_profiles.mcu.lower import Int8Network, lower
from hw_profiles.mcu.patches import block_parts, in_patches, joined, largest
from hw_profiles.weights import random_params
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.graph import Graph
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.patches import BlockPatches
from search_spaces.ir.quantize import quantize_for_timing

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


def planned(blocks: BlockMap) -> BlockMemory:
    """Memory of the architectures of a space, on any core, planned block by block.

    RAM is the arena (`arena.arena` tells what a whole network really needs); flash is weights,
    factors and tables: code comes on top.

    Raises:
        InputError: the blocks do not form a chain.
    """
    return BlockMemory(
        blocks, lambda: np.array([_needs(unit) for unit in blocks.units]).reshape(-1, 2) / KIB
    )


def _needs(unit: Graph) -> tuple[int, int]:
    network, cut, resident = lowered(unit), unit.patches, 0
    every = network
    if isinstance(cut, BlockPatches):
        parts, resident = block_parts(network, cut), cut.resident
        network, every = largest(parts), joined(parts)
    return arena(network, simd=None).arena_bytes + resident, flash_bytes(every, simd=True)
