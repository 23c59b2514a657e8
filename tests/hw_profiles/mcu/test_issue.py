import pytest

from hw_profiles.mcu.core import CORES
from hw_profiles.mcu.instructions import Instruction, decode
from hw_profiles.mcu.issue import MODELS, DualIssue, SingleIssue

pytest.importorskip("capstone")

# Assembled by hand from the Arm Architecture Reference Manual.
_LDR_R0_R1 = bytes.fromhex("0868")  # ldr r0, [r1]
_LDR_R2_R1_4 = bytes.fromhex("4a68")  # ldr r2, [r1, #4]
_LDR_R2_R1_8 = bytes.fromhex("8a68")  # ldr r2, [r1, #8]
_ADDS_R3_R0_R2 = bytes.fromhex("8318")  # adds r3, r0, r2
_MUL_R0_R1_R2 = bytes.fromhex("01fb02f0")  # mul r0, r1, r2
_MLA_R0_R1_R2_R0 = bytes.fromhex("01fb0200")  # mla r0, r1, r2, r0
_SXTB16_R0_R3 = bytes.fromhex("2ffa83f0")  # sxtb16 r0, r3
_PUSH = bytes.fromhex("f0b5")  # push {r4, r5, r6, r7, lr}
_SUBS_R3_R3_1 = bytes.fromhex("5b1e")  # subs r3, r3, #1
_BNE = bytes.fromhex("fcd1")  # bne
_STR_R3_R1 = bytes.fromhex("0b60")  # str r3, [r1]


def block(*code: bytes, core: str = "cortex_m7") -> tuple[Instruction, ...]:
    return decode(b"".join(code), 0x08000000, CORES[core])


def test_instructions_are_what_the_manual_says() -> None:
    kinds = [one.kind for one in block(_LDR_R0_R1, _MLA_R0_R1_R2_R0, _SXTB16_R0_R3, _STR_R3_R1)]
    assert kinds == ["load", "mac", "dsp", "store"]
    (pushed,) = block(_PUSH)
    assert (pushed.kind, pushed.words) == ("store", 5)
    (mla,) = block(_MLA_R0_R1_R2_R0)
    assert mla.accumulator == {"r0"}
    assert mla.reads == {"r1", "r2"}


def test_the_m4_pipelines_neighbouring_loads() -> None:
    model = SingleIssue()
    assert model.cycles(block(_LDR_R0_R1)) == 2
    assert model.cycles(block(_LDR_R0_R1, _LDR_R2_R1_4)) == 3
    assert model.cycles(block(_LDR_R0_R1, _ADDS_R3_R0_R2, _LDR_R2_R1_4)) == 5
    assert model.cycles(block(_PUSH)) == 6


def test_the_m7_pairs_what_it_may() -> None:
    model = DualIssue()
    # Opposite banks of four bytes pair, equal ones do not.
    assert model.cycles(block(_LDR_R0_R1, _LDR_R2_R1_4)) == 1
    assert model.cycles(block(_LDR_R0_R1, _LDR_R2_R1_8)) == 2
    # One multiplication a cycle; who adds to it waits one, who reads it two.
    assert model.cycles(block(_MUL_R0_R1_R2, _MLA_R0_R1_R2_R0)) == 2
    assert model.cycles(block(_MUL_R0_R1_R2, _ADDS_R3_R0_R2)) == 3
    # A DSP operation is the older one of a pair.
    assert model.cycles(block(_SXTB16_R0_R3, _LDR_R2_R1_4)) == 1
    assert model.cycles(block(_LDR_R2_R1_4, _SXTB16_R0_R3)) == 2
    # No multiplication beside a store.
    assert model.cycles(block(_MUL_R0_R1_R2, _STR_R3_R1)) == 2


def test_the_m33_pairs_narrow_instructions() -> None:
    model = MODELS["cortex_m33"]

    def cycles(*code: bytes) -> int:
        return model.cycles(block(*code, core="cortex_m33"))

    # A load takes one cycle, and who reads it waits another one.
    assert cycles(_LDR_R0_R1) == 1
    assert cycles(_LDR_R0_R1, _SXTB16_R0_R3) == 2
    assert cycles(_LDR_R0_R1, _ADDS_R3_R0_R2) == 3
    # Two of 16 bits issue together, but not two loads, nor three, nor one of 32 bits.
    assert cycles(_ADDS_R3_R0_R2, _LDR_R2_R1_4) == 1
    assert cycles(_LDR_R0_R1, _LDR_R2_R1_4) == 2
    assert cycles(_ADDS_R3_R0_R2, _LDR_R2_R1_4, _STR_R3_R1) == 2
    assert cycles(_ADDS_R3_R0_R2, _SXTB16_R0_R3) == 2
    # A sum that is added to does not wait, one that is read does.
    assert cycles(_MUL_R0_R1_R2, _MLA_R0_R1_R2_R0) == 2
    assert cycles(_MUL_R0_R1_R2, _ADDS_R3_R0_R2) == 3
    assert cycles(_PUSH) == 5
    # A decrement stands in the cycle of the branch that it decides.
    assert cycles(_SUBS_R3_R3_1, _BNE) == 1


def test_risc_v_waits_for_what_it_loads() -> None:
    lw, add, other = "03a50500", "3305a500", "b3068700"  # lw a0,0(a1); add a0,a0,a0 ; add a3,a4,s0
    model = MODELS["rv32imc"]
    used = block(bytes.fromhex(lw), bytes.fromhex(add), core="rv32imc")
    apart = block(bytes.fromhex(lw), bytes.fromhex(other), core="rv32imc")
    assert (model.cycles(used), model.cycles(apart)) == (3, 2)


@pytest.mark.parametrize("core", CORES)
def test_every_core_has_a_model(core: str) -> None:
    assert MODELS[core].taken >= 0
    assert MODELS[core].cycles(()) == 0
