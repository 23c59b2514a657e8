"""The least and the most that a cost can be over a whole space, when blocks make it up.

Knobs that several blocks share are enumerated; every other knob belongs to one block and is chosen
there on its own. So the result is exact, for spaces of any size.
"""

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from jaxtyping import Float

from search_spaces.errors import RunError
from search_spaces.ir.blocks import BlockMap, Position
from search_spaces.space import Arch

_LIMIT = 2_000_000


@dataclass(frozen=True, slots=True)
class Extreme:
    """An architecture that no other undercuts, and its cost."""

    arch: Arch
    value: float


def cheapest(
    blocks: BlockMap, per_unit: Float[np.ndarray, " u"], join: np.ufunc = np.add
) -> Extreme:
    """The architecture whose blocks cost least in sum; negate the costs for the most.

    Args:
        blocks: of the space.
        per_unit: cost of each unit of `blocks.units`, finite.
        join: how blocks add up: `np.maximum` where the dearest one counts, as for memory (and
            `np.minimum` for the most of it, with negated costs).

    Raises:
        RunError: blocks share too many knobs to enumerate.
    """
    shared = _shared(blocks)
    cardinality = blocks.space.cardinality
    if prod(int(cardinality[k]) for k in shared) > _LIMIT:
        names = ", ".join(blocks.space.knobs[k].name for k in shared)
        raise RunError(f"the blocks of {blocks.space.name} share too many knobs: {names}")
    settings = np.zeros((prod(int(cardinality[k]) for k in shared), len(cardinality)), np.int64)
    settings[:, shared] = list(product(*(range(int(cardinality[k])) for k in shared)))
    settings = blocks.space.canonical(settings)
    settings = settings[np.unique(blocks.radix(settings, tuple(shared)), return_index=True)[1]]
    nothing = {np.add: 0.0, np.maximum: -np.inf, np.minimum: np.inf}[join]
    total = np.full(len(settings), nothing)
    for slot in blocks.slots:
        least = _least(blocks, slot, per_unit, shared).min(1)
        outer = [k for k in slot.knobs if k in shared]
        present = blocks.space.holds(settings, slot.conditions)
        costs = least[blocks.radix(settings, tuple(outer))]
        total = join(total, np.where(present, costs, nothing))
    arch = settings[[np.argmin(total)]].copy()
    for slot in blocks.slots:
        inner = [k for k in slot.knobs if k not in shared]
        outer = tuple(k for k in slot.knobs if k in shared)
        if inner and blocks.space.holds(arch, slot.conditions)[0]:
            costs = _least(blocks, slot, per_unit, shared)[blocks.radix(arch, outer)[0]]
            arch[0, inner] = np.unravel_index(np.argmin(costs), [cardinality[k] for k in inner])
    return Extreme(blocks.space.canonical(arch)[0], float(total.min()))


def _shared(blocks: BlockMap) -> list[int]:
    """Knobs that decide whether a block is present, or what stands at two positions or more."""
    uses = np.zeros(len(blocks.space.knobs), int)
    for slot in blocks.slots:
        uses[list(slot.knobs)] += 1
        uses[[blocks.space.knob_index[knob] for knob, _ in slot.conditions]] += 2
    return list(map(int, np.flatnonzero(uses > 1)))


def _least(
    blocks: BlockMap, slot: Position, per_unit: Float[np.ndarray, " u"], shared: list[int]
) -> Float[np.ndarray, "outer inner"]:
    """Costs at a position: shared knobs by row, its own knobs by column, both in mixed radix."""
    cube = per_unit[slot.units].reshape([int(blocks.space.cardinality[k]) for k in slot.knobs])
    outer = [axis for axis, k in enumerate(slot.knobs) if k in shared]
    inner = [axis for axis, k in enumerate(slot.knobs) if k not in shared]
    rows = prod(cube.shape[axis] for axis in outer)
    return cube.transpose(outer + inner).reshape(rows, -1)
