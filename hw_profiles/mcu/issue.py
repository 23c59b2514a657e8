"""How many cycles a block of instructions takes in each core: documented rules, none fitted.

A model gives the cycles of a block that other blocks come before, and of one that follows itself,
with operands in registers and memory that never waits (`waiting.py` adds the waiting). Rules and
their sources stand beside each model; what has no source is called an assumption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hw_profiles.mcu.instructions import Instruction

Block = Sequence[Instruction]
# Of the rules here; tables of another version are not mixed with these.
VERSION = 2


class IssueModel(Protocol):
    """Timing rules of a core.

    Args:
        taken: cycles that a branch to elsewhere adds.
        missed: cycles that a wrongly predicted branch adds.
    """

    @property
    def taken(self) -> float:
        """Cycles that a branch to elsewhere adds."""
        ...

    @property
    def missed(self) -> float:
        """Cycles that a wrongly predicted branch adds."""
        ...

    def cycles(self, block: Block) -> int:
        """Cycles from the block's first instruction to the next block's."""
        ...


@dataclass(frozen=True, slots=True)
class SingleIssue:
    """One instruction at a time.

    Cortex-M4: Arm DDI 0439, Cortex-M4 Technical Reference Manual, table 3-1 and §3.3.1-3.3.3:
    data processing, MUL and all MACs (SMLAD, SMULL) 1; SDIV/UDIV 2-12; LDR 2, and 1 right after
    another load or store; STR 1; LDRD, LDM, PUSH, STM 1 + n; branches 1, taken 1 + P with P of 1
    to 3; IT is folded after a 16-bit instruction. Division is taken at its middle, P as 2.

    Cortex-M33: Arm publishes no such table (100230, Cortex-M33 Technical Reference Manual). What
    its pipeline does is told by "Cortex-M23 und M33 sind erste ARMv8-M-CPUs" (elektroniknet.de,
    article 135091, page 3): arithmetic ends in the second stage, SIMD, MAC and division in the
    third; addresses are made in the second, so that a load takes 1 and not the M4's 2; branches
    are decided there; two 16-bit instructions, or one and a branch, issue together. From this
    follow, as assumptions: 1 to wait for what a load or a MAC makes (LLVM's latency of a load is
    2), but none to add to it; a taken branch 1 more; LDM and STM n; no two loads or stores and no
    two MACs together, nor one that reads what the other writes.

    RV32IMC: four stages in order, one instruction a cycle (Espressif, ESP32-C3 Technical Reference
    Manual, chapter "ESP-RISC-V CPU": 4-stage pipeline, hardware multiplier and divider). It is an
    assumption that multiplications take 1, a load's result waits 1 for who reads it next, a
    division takes 17, a taken branch 2 more.

    Args:
        load: cycles of a load alone.
        pipelined: whether loads and stores in a row overlap.
        load_use: cycles that the next instruction waits if it reads what was loaded.
        mac_use: the same of what was multiplied, if it does not add to it.
        pairs: whether two instructions of 16 bits issue together.
        div: cycles of a division.
        taken: that a taken branch adds.
    """

    load: int = 2
    pipelined: bool = True
    load_use: int = 0
    mac_use: int = 0
    pairs: bool = False
    div: int = 7
    taken: float = 2.0
    missed: float = 0.0

    def cycles(self, block: Block) -> int:
        """Sum over the instructions, each seeing the one before."""
        total, before, alone = 0, None, True
        for one in block:
            if self.pairs and alone and before is not None and _narrow_pair(before, one):
                alone = False
            else:
                total, alone = total + self._one(one, before), True
            before = one
        return total

    def _one(self, one: Instruction, before: Instruction | None) -> int:
        waits = 0
        if before is not None and before.writes & one.reads:
            waits = {"load": self.load_use, "mac": self.mac_use}.get(before.kind, 0)
        if one.kind in ("load", "store") and one.words > 1:
            return waits + self.load + one.words - 1
        if one.kind == "load":
            follows = before is not None and before.kind in ("load", "store")
            return waits + (1 if self.pipelined and follows else self.load)
        if one.kind == "div":
            return waits + self.div
        if one.kind == "it" and before is not None and before.size == 2:
            return 0
        return waits + 1


def _narrow_pair(first: Instruction, second: Instruction) -> bool:
    """Whether the M33 issues two instructions of 16 bits together."""
    alone = ("div", "it")
    if first.size != 2 or second.size != 2 or first.kind in alone or second.kind in alone:
        return False
    if first.words > 1 or second.words > 1 or first.kind == "branch":
        return False
    memory = {"load", "store"}
    if {first.kind, second.kind} <= memory or (first.kind, second.kind) == ("mac", "mac"):
        return False
    # A compare may stand before the branch that it decides.
    made = first.writes if second.kind != "branch" else first.writes - {"cpsr"}
    return not made & _all_reads(second) and not first.writes & second.writes - {"cpsr"}


@dataclass(frozen=True, slots=True)
class DualIssue:
    """Cortex-M7: in order, two instructions a cycle.

    Arm publishes no table (DDI 0489). The rules are those that were measured on boards and
    published in github.com/jnk0le/random (`pipeline cycle test`, STM32H743) and in quinapalus'
    `cm7cycles` (STM32H730): in a cycle one MAC, one store, one DSP or bit-field op and that as the
    older one, one shifted operand, one branch; two loads only from opposite banks of 4 bytes; no
    MAC beside a store; LDM, STM and LDRD alone, two registers a cycle; division alone (taken as 7).
    Who reads a result waits 1 cycle after ALU and DSP ops; 1 after a load, 2 if it shifts,
    multiplies or widens it, one more after a byte or half a word; 2 after a multiplication, 1 to
    add to it.
    A mispredicted branch costs 8; a predicted one ends the pair.
    """

    taken: float = 0.0
    missed: float = 8.0
    div: int = 7

    def cycles(self, block: Block) -> int:
        """Issue in order from an idle core; the cycle after the last issue."""
        cycle, pair = 0, list[Instruction]()
        ready: dict[str, tuple[int, Instruction]] = {}
        for one in block:
            if one.kind == "nop":
                continue
            earliest = max((self._when(reg, one, ready) for reg in _all_reads(one)), default=0)
            if earliest > cycle or not _pairs(pair, one):
                cycle, pair = max(earliest, cycle + bool(pair)), []
            pair.append(one)
            for reg in one.writes:
                ready[reg] = (cycle, one)
            occupied = self.div if one.kind == "div" else (one.words + 1) // 2
            if occupied > 1 or one.kind == "div":
                cycle, pair = cycle + occupied, []
        return cycle + bool(pair)

    @staticmethod
    def _when(reg: str, one: Instruction, ready: Mapping[str, tuple[int, Instruction]]) -> int:
        """First cycle at which an instruction may read a register."""
        if reg not in ready:
            return 0
        cycle, maker = ready[reg]
        if maker.kind == "load":
            strict = one.kind in ("mac", "dsp") or one.shifted
            latency = 1 + strict + maker.narrow + (maker.words - 1) // 2
        elif maker.kind == "mac":
            latency = 1 if reg in one.accumulator else 2
        else:
            latency = 1
        return cycle + latency


def _all_reads(one: Instruction) -> frozenset[str]:
    return one.reads | one.accumulator


def _alone(one: Instruction) -> bool:
    return one.kind == "div" or one.words > 1


def _pairs(pair: Sequence[Instruction], one: Instruction) -> bool:
    """Whether an instruction may issue in the cycle of those before it."""
    if not pair:
        return True
    first = pair[0]
    if len(pair) == 2 or _alone(first) or _alone(one) or first.writes & _all_reads(one):
        return False
    kinds = (first.kind, one.kind)
    if one.kind == "dsp" or first.kind == "branch" or (first.shifted and one.shifted):
        return False
    if kinds == ("load", "load"):
        return _opposite_banks(first, one)
    return kinds not in (("mac", "mac"), ("store", "store"), ("mac", "store"), ("store", "mac"))


def _opposite_banks(first: Instruction, second: Instruction) -> bool:
    """Whether that is sure; of unrelated addresses it is not."""
    if first.base is None or second.base is None or first.base[0] != second.base[0]:
        return False
    return (first.base[1] - second.base[1]) // 4 % 2 == 1


MODELS: Mapping[str, IssueModel] = {
    "cortex_m4": SingleIssue(),
    "cortex_m33": SingleIssue(
        load=1, pipelined=False, load_use=1, mac_use=1, pairs=True, taken=1.0
    ),
    "cortex_m7": DualIssue(),
    "rv32imc": SingleIssue(load=1, pipelined=False, load_use=1, div=17),
}
