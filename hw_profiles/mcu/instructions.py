"""Machine code as the timing models see it: what each instruction does, reads and writes."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from hw_profiles.mcu.core import Core
from hw_profiles.mcu.toolchain import require

Kind = Literal["alu", "mac", "dsp", "load", "store", "div", "branch", "it", "nop"]

_LOADS = ("ldr", "ldm", "pop", "vldr", "vldm", "vpop")
_STORES = ("str", "stm", "push", "vstr", "vstm", "vpush")
_MACS = (
    "mul",
    "mla",
    "mls",
    "smul",
    "smla",
    "smml",
    "smmu",
    "umul",
    "umla",
    "umaa",
    "smus",
    "smls",
)
# Extensions, packing, bit fields, saturation.
_DSP = (
    *("sxt", "uxt", "pkh", "ubfx", "sbfx", "bfi", "bfc", "ssat", "usat", "sel", "rev", "rbit"),
    *("sadd", "uadd", "ssub", "usub", "qadd", "qsub", "shadd", "uhadd", "usad"),
)
_RISCV_LOADS = ("lw", "lh", "lb", "c.lw")
_RISCV_STORES = ("sw", "sh", "sb", "c.sw")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Args:
        kind: what unit of the core does it.
        size: bytes of code.
        words: registers that a load or store moves.
        narrow: whether it loads a byte or half a word.
        shifted: whether an operand passes the shifter.
        reads: registers, without an accumulator.
        accumulator: registers that are added to, of a multiplication.
        writes: registers.
        base: register and offset that address memory, where it is as simple as that.
    """

    kind: Kind
    size: int
    words: int = 1
    narrow: bool = False
    shifted: bool = False
    reads: frozenset[str] = frozenset()
    accumulator: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    base: tuple[str, int] | None = None


def decode(code: bytes, address: int, core: Core) -> tuple[Instruction, ...]:
    """The instructions of a block.

    Raises:
        InputError: the extra `mcu` is not installed.
    """
    arm = core.emulated[0] == "arm"
    made = _disassembler(arm).disasm(code, address)
    return tuple(_arm(one) if arm else _riscv(one) for one in made)


@cache
def _disassembler(arm: bool) -> Any:
    capstone = require("capstone")
    if arm:
        mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        made = capstone.Cs(capstone.CS_ARCH_ARM, mode)
    else:
        mode = capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC
        made = capstone.Cs(capstone.CS_ARCH_RISCV, mode)
    made.detail = True
    return made


def _arm(one: Any) -> Instruction:
    name = one.mnemonic.partition(".")[0]
    read, written = one.regs_access()
    reads = frozenset(one.reg_name(reg) for reg in read)
    writes = frozenset(one.reg_name(reg) for reg in written)
    kind = _arm_kind(name, one)
    if kind in ("load", "store"):
        listed = sum(operand.type == 1 for operand in one.operands)
        multiple = name.startswith(("ldm", "stm", "vldm", "vstm"))
        stack = name.startswith(("push", "pop", "vpush", "vpop"))
        double = name.startswith(("ldrd", "strd"))
        words = listed if stack else listed - 1 if multiple else 2 if double else 1
        narrow = name.startswith(("ldrb", "ldrh", "ldrsb", "ldrsh"))
        return Instruction(
            kind, one.size, max(words, 1), narrow, False, reads, frozenset(), writes, _base(one)
        )
    accumulator = frozenset[str]()
    if kind == "mac" and len(one.operands) == 4 and name.startswith(("mla", "mls", "smla", "smml")):
        operands = [one.reg_name(operand.reg) for operand in one.operands]
        # Long ones add to the two registers that they write.
        added = operands[:2] if name.startswith(("smlal", "smlald")) else operands[3:]
        accumulator = frozenset(added) - frozenset(
            operands[1:3] if len(added) == 1 else operands[2:]
        )
    shifted = any(operand.shift.type != 0 for operand in one.operands) or name.startswith(
        ("lsl", "lsr", "asr", "ror")
    )
    return Instruction(kind, one.size, 1, False, shifted, reads - accumulator, accumulator, writes)


def _arm_kind(name: str, one: Any) -> Kind:
    capstone = require("capstone")
    if name.startswith("it"):
        return "it"
    if name.startswith("nop"):
        return "nop"
    if name.startswith(_LOADS):
        return "load"
    if name.startswith(_STORES):
        return "store"
    if one.group(capstone.CS_GRP_JUMP) or one.group(capstone.CS_GRP_CALL):
        return "branch"
    if name.startswith(("sdiv", "udiv")):
        return "div"
    if name.startswith(_MACS):
        return "mac"
    return "dsp" if name.startswith(_DSP) else "alu"


def _base(one: Any) -> tuple[str, int] | None:
    for operand in one.operands:
        # A memory operand without an index.
        if operand.type == 3 and not operand.mem.index:
            return one.reg_name(operand.mem.base), operand.mem.disp
    return None


def _riscv(one: Any) -> Instruction:
    name = one.mnemonic
    words = one.op_str.replace("(", ", ").replace(")", "").split(", ")
    registers = [word for word in words if word and not word.lstrip("-").isdigit()]
    plain = name.removeprefix("c.")
    if name.startswith(_RISCV_LOADS):
        kind: Kind = "load"
    elif name.startswith(_RISCV_STORES):
        kind = "store"
    elif plain.startswith(("mul",)):
        kind = "mac"
    elif plain.startswith(("div", "rem")):
        kind = "div"
    elif plain.startswith(("b", "j", "ret", "call", "tail")):
        kind = "branch"
    else:
        kind = "nop" if plain == "nop" else "alu"
    makes = kind in ("load", "alu", "mac", "div")
    # A compressed instruction may also read what it writes.
    read = registers if kind in ("store", "branch") or name.startswith("c.") else registers[1:]
    return Instruction(
        kind, one.size, reads=frozenset(read), writes=frozenset(registers[:1] if makes else ())
    )
