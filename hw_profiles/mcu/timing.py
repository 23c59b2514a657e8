"""Cycles of a program from the blocks that it ran, under a core's issue model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hw_profiles.mcu.counting import BlockCount
from hw_profiles.mcu.emulator import FLASH, Emulator
from hw_profiles.mcu.instructions import decode
from hw_profiles.mcu.issue import MODELS

# A block that follows itself is timed over so many rounds, after some that fill the pipeline.
_FILL, _ROUNDS = 2, 4


@dataclass(frozen=True, slots=True)
class BlockCost:
    """Cycles of one block.

    Args:
        first: after another block.
        again: after itself.
        instructions: issued.
    """

    first: float
    again: float
    instructions: int


@dataclass(frozen=True, slots=True)
class Cycles:
    """What a program took, with memory that never waits.

    Args:
        cycles: of the core.
        instructions: issued; those that a condition skipped are counted.
    """

    cycles: float
    instructions: int


@dataclass(frozen=True, eq=False)
class Timer:
    """Times programs of one emulator; each block's cost is worked out once."""

    emulator: Emulator
    _costs: dict[tuple[int, int], BlockCost] = field(default_factory=dict)

    def cycles(self, blocks: Mapping[int, BlockCount]) -> Cycles:
        """Cycles of the blocks that ran.

        Args:
            blocks: as `Emulator.call` gives them.
        """
        model = MODELS[self.emulator.core.id]
        total, instructions = 0.0, 0
        for address, block in blocks.items():
            cost = self.cost(address, block.size)
            total += (block.count - block.again) * cost.first + block.again * cost.again
            total += block.taken * model.taken + block.missed * model.missed
            instructions += block.count * cost.instructions
        return Cycles(total, instructions)

    def cost(self, address: int, size: int) -> BlockCost:
        """Cycles of a block.

        Args:
            address: of its first instruction.
            size: bytes.
        """
        found = self._costs.get((address, size))
        if found is None:
            found = self._costs[(address, size)] = self._cost(address, size)
        return found

    def _cost(self, address: int, size: int) -> BlockCost:
        assert address >= FLASH
        model = MODELS[self.emulator.core.id]
        block = decode(self.emulator.read(address, size).tobytes(), address, self.emulator.core)
        filled = model.cycles(block * _FILL)
        again = (model.cycles(block * (_FILL + _ROUNDS)) - filled) / _ROUNDS
        return BlockCost(model.cycles(block), again, len(block))
