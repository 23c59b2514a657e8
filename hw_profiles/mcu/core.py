"""Processor cores that the simulator knows: how code is built for them and emulated."""

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.errors import InputError


@dataclass(frozen=True, slots=True)
class Core:
    """A core.

    Args:
        id: as `device.yaml` names it.
        target: of clang, as zig spells it.
        zig: flags of `zig cc`.
        gcc: the compiler of Debian's packages and its flags; none where there is none.
        emulated: architecture and model of unicorn, names of its constants.
        simd: whether it has the DSP extension of Arm, so that SIMD kernels run on it.
    """

    id: str
    target: str
    zig: tuple[str, ...]
    gcc: tuple[str, ...]
    emulated: tuple[str, str]
    simd: bool


_ARM_GCC = ("arm-none-eabi-gcc", "-mthumb", "-mfloat-abi=hard")
CORES: Mapping[str, Core] = {
    core.id: core
    for core in (
        Core(
            "cortex_m4",
            "thumb-freestanding-eabihf",
            ("-mcpu=cortex_m4",),
            (*_ARM_GCC, "-mcpu=cortex-m4"),
            ("arm", "UC_CPU_ARM_CORTEX_M4"),
            simd=True,
        ),
        Core(
            "cortex_m7",
            "thumb-freestanding-eabihf",
            ("-mcpu=cortex_m7",),
            (*_ARM_GCC, "-mcpu=cortex-m7"),
            ("arm", "UC_CPU_ARM_CORTEX_M7"),
            simd=True,
        ),
        Core(
            "cortex_m33",
            "thumb-freestanding-eabihf",
            ("-mcpu=cortex_m33+dsp",),
            (*_ARM_GCC, "-mcpu=cortex-m33"),
            ("arm", "UC_CPU_ARM_CORTEX_M33"),
            simd=True,
        ),
        Core(
            "rv32imc",
            "riscv32-freestanding-none",
            ("-mcpu=generic_rv32+m+c", "-mabi=ilp32"),
            (),
            ("riscv", "UC_CPU_RISCV32_ANY"),
            simd=False,
        ),
    )
}


def find_core(id: str) -> Core:  # noqa: A002 (the key in the file)
    """The core of that id.

    Raises:
        InputError: there is none.
    """
    if id not in CORES:
        raise InputError(f"core {id!r}: must be one of {', '.join(CORES)}")
    return CORES[id]
