"""C for microcontrollers: built by zig's clang or by GCC, kept in the user's cache."""

import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal

from hw_profiles.device import cache_folder
from hw_profiles.mcu.core import Core
from search_spaces.errors import InputError

Compiler = Literal["zig", "gcc"]
CSRC = Path(__file__).parent / "csrc"
FREESTANDING = CSRC / "freestanding"
_LINK = CSRC / "link.ld"
# -g keeps the symbols that strip would take with -O3 of zig.
FLAGS = ("-O3", "-g", "-std=c11", "-ffreestanding", "-ffunction-sections", "-fdata-sections")
_ZIG_ONLY = ("-fno-sanitize=all", "-Wno-unused-command-line-argument")
_LIMIT_S = 300


def require(module: str, extra: str = "mcu") -> ModuleType:
    """A package of an extra.

    Raises:
        InputError: it is not installed; the message has the command.
    """
    if find_spec(module.partition(".")[0]) is None:
        raise InputError(
            f"microcontrollers need the package {module.partition('.')[0]!r}; "
            f"run: {sys.executable} -m pip install 'hwnas[{extra}]'"
        )
    return import_module(module)


def kernel_sources(
    core: Core, ops: Sequence[str] | None = None, *, simd: bool | None = None
) -> tuple[Path, ...]:
    """C files of the kernels for a core: SIMD ones where it can run them and there are any.

    Args:
        core: the core; one without the DSP extension gets portable C.
        ops: of which kernels; all of them if not given.
        simd: false for portable C on any core.
    """
    portable = {path.stem: path for path in (CSRC / "portable").glob("*.c")}
    faster = {path.stem: path for path in (CSRC / "simd").glob("*.c")}
    found = {**portable, **faster} if (core.simd if simd is None else simd) else portable
    return tuple(found[op] for op in sorted(ops or found))


@functools.cache
def kernels_digest() -> str:
    """Of the C code of all kernels."""
    digest = hashlib.sha256()
    for path in sorted(path for path in CSRC.rglob("*.[ch]") if path.parent.name != "export"):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def command(core: Core, compiler: Compiler = "zig") -> tuple[str, ...]:
    """The compiler and its flags for a core.

    Raises:
        InputError: it is not there, or not for this core.
    """
    if compiler == "zig":
        require("ziglang")
        zig = (sys.executable, "-m", "ziglang", "cc", "-target", core.target)
        return (*zig, *core.zig, *FLAGS, *_ZIG_ONLY)
    if not core.gcc:
        raise InputError(f"core {core.id}: built by zig only; pip install 'hwnas[mcu]'")
    if shutil.which(core.gcc[0]) is None:
        raise InputError(f"{core.gcc[0]} is not installed; run: apt-get install gcc-arm-none-eabi")
    return (*core.gcc, *FLAGS)


@functools.cache
def describe(core: Core, compiler: Compiler = "zig") -> str:
    """Compiler, version and flags, for provenance.

    Raises:
        InputError: the compiler is not there.
    """
    if compiler == "zig":
        command(core)
        return " ".join(("zig", version("ziglang"), core.target, *core.zig, *FLAGS))
    said = subprocess.run(
        (command(core, compiler)[0], "-dumpfullversion"), capture_output=True, text=True, check=True
    )
    return " ".join((core.gcc[0], said.stdout.strip(), *core.gcc[1:], *FLAGS))


def build(
    sources: Sequence[Path],
    core: Core,
    *,
    compiler: Compiler = "zig",
    include: Sequence[Path] = (),
    keep: Sequence[str] = (),
    define: Sequence[str] = (),
) -> Path:
    """Compile and link C files to an ELF file, or find it in the cache.

    Args:
        sources: the C files. Headers are found in `CSRC`, and `string.h` in `FREESTANDING`.
        core: to build for.
        compiler: zig's clang, or Debian's GCC.
        include: more folders of headers.
        keep: functions to keep, with all that they need; everything if none is named.
        define: macros.

    Returns:
        The file, under a name that holds a digest of all that it depends on.

    Raises:
        InputError: the compiler is missing, or refuses the code.
    """
    folders = (CSRC, FREESTANDING, *include)
    roots = [f"-Wl,--undefined={name}" for name in keep]
    flags = [
        *command(core, compiler),
        *(f"-I{folder}" for folder in folders),
        *(f"-D{macro}" for macro in define),
        "-nostdlib",
        *(["-Wl,--gc-sections", *roots] if keep else ["-Wl,--no-gc-sections"]),
        "-Wl,--entry=0",
        "-T",
        str(_LINK),
    ]
    everything = (*sources, FREESTANDING / "memory.c")
    digest = hashlib.sha256(describe(core, compiler).encode())
    read = (*everything, _LINK, *sorted(file for one in folders for file in one.rglob("*.[ch]")))
    for text in (
        *(path.read_bytes() for path in read),
        *(name.encode() for name in (*keep, *define)),
    ):
        digest.update(text + b"\0")
    elf = cache_folder() / "mcu" / f"{core.id}-{digest.hexdigest()[:24]}.elf"
    if elf.exists():
        return elf
    elf.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=elf.parent) as folder:
        made = Path(folder) / elf.name
        done = subprocess.run(
            [*flags, *map(str, everything), *_builtins(core, compiler), "-o", str(made)],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line]
            raise InputError(f"{core.id}: {compiler}: {(lines or [done.stderr.strip()])[0]}")
        made.replace(elf)
    return elf


def _builtins(core: Core, compiler: Compiler) -> tuple[str, ...]:
    """GCC's own functions, such as a division of 64 bits; clang needs none for the kernels."""
    return ("-lgcc",) if compiler == "gcc" and core.gcc else ()
