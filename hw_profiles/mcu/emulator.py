"""Runs machine code of a microcontroller, with flash and RAM where `csrc/link.ld` puts them."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from hw_profiles.mcu import counting
from hw_profiles.mcu.core import Core
from hw_profiles.mcu.counting import BlockCount
from hw_profiles.mcu.toolchain import require

FLASH, FLASH_BYTES = 0x08000000, 32 << 20
RAM, RAM_BYTES = 0x20000000, 16 << 20
STACK_BYTES = 16 << 10
_PAGE = 4096
# No kernel runs as long: a network of 1 GMAC in plain C takes some ten thousand million.
_MOST_INSTRUCTIONS = 200_000_000_000


class EmulationError(RuntimeError):
    """The program did what it must not: a mistake in the C code or in how it is called."""


class Emulator:
    """One program in memory.

    Args:
        core: that it was built for.
        elf: the program, as `toolchain.build` makes it.

    Raises:
        InputError: the extra `mcu` is not installed.
    """

    def __init__(self, core: Core, elf: Path) -> None:
        """Load the program."""
        unicorn = require("unicorn")
        self.core, self.elf = core, elf
        architecture, model = core.emulated
        self._arm = architecture == "arm"
        self._const = require(f"unicorn.{architecture}_const")
        if self._arm:
            mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
            self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, mode)
        else:
            self._uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        self._uc.ctl_set_cpu_model(getattr(self._const, model))
        self._uc.mem_map(FLASH, FLASH_BYTES)
        self._uc.mem_map(RAM, RAM_BYTES)
        self._load()
        # Where functions return to; nothing is there.
        self._exit = FLASH + FLASH_BYTES - _PAGE
        self._counter = counting.attach(self._uc, FLASH, self.code_bytes)

    def _load(self) -> None:
        with self.elf.open("rb") as file:
            program = require("elftools.elf.elffile").ELFFile(file)
            for segment in program.iter_segments():
                if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]:
                    self._uc.mem_write(segment["p_vaddr"], segment.data())
            sections = {one.name: one["sh_size"] for one in program.iter_sections()}
            symbols = program.get_section_by_name(".symtab")
            self.symbols: Mapping[str, int] = {
                one.name: one["st_value"] for one in symbols.iter_symbols() if one.name
            }
        self.code_bytes: int = sections[".text"]
        self.flash_bytes: int = sum(sections.get(name, 0) for name in (".text", ".rodata", ".data"))
        self.static_bytes: int = sum(sections.get(name, 0) for name in (".data", ".bss"))

    @cached_property
    def free_flash(self) -> int:
        """Lowest address of flash that the program leaves free, on a page of its own."""
        return FLASH + -(-self.flash_bytes // _PAGE) * _PAGE

    @cached_property
    def free_ram(self) -> int:
        """The same of RAM; the stack grows down from its end."""
        return RAM + -(-self.static_bytes // _PAGE) * _PAGE

    def write(self, address: int, data: bytes | np.ndarray) -> None:
        """Put bytes into memory."""
        self._uc.mem_write(address, data if isinstance(data, bytes) else data.tobytes())

    def read(self, address: int, size: int) -> np.ndarray:
        """`size` bytes of memory as int8."""
        return np.frombuffer(bytes(self._uc.mem_read(address, size)), np.int8)

    def call(self, function: str, *arguments: int) -> Mapping[int, BlockCount]:
        """Call a function with words, up to eight of them, and count the blocks that it runs.

        Raises:
            EmulationError: it reads or writes where nothing is, or never returns.
        """
        stack = RAM + RAM_BYTES - 64
        self._set_arguments(stack, arguments)
        self._counter.reset()
        entry = self.symbols[function]
        try:
            self._uc.emu_start(entry | 1 if self._arm else entry, self._exit)
        except require("unicorn").UcError as error:
            place = self._uc.reg_read(self._register("PC"))
            raise EmulationError(f"{function}: {error} at {place:#x}") from None
        return self._counter.blocks()

    def _register(self, name: str) -> int:
        return getattr(self._const, f"UC_{'ARM' if self._arm else 'RISCV'}_REG_{name}")

    def _set_arguments(self, stack: int, arguments: tuple[int, ...]) -> None:
        in_registers = 4 if self._arm else 8
        prefix = "R" if self._arm else "A"
        for i, word in enumerate(arguments[:in_registers]):
            self._uc.reg_write(self._register(f"{prefix}{i}"), word & 0xFFFFFFFF)
        for i, word in enumerate(arguments[in_registers:]):
            self.write(stack + 4 * i, (word & 0xFFFFFFFF).to_bytes(4, "little"))
        self._uc.reg_write(self._register("SP"), stack)
        self._uc.reg_write(self._register("LR" if self._arm else "RA"), self._exit | self._arm)
