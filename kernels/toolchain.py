"""C++ kernels, built on first use by whatever compiler there is, and kept in the user's cache."""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

_FLAGS = ("-O2", "-march=native", "-std=c++17", "-shared", "-fPIC", "-w")
_BUILD_LIMIT_S = 600

_log = logging.getLogger(__name__)


@functools.cache
def _outcome(sources: tuple[Path, ...], include: tuple[str, ...]) -> ctypes.CDLL | str:
    """The library, or why there is none: tried once a process."""
    if os.environ.get("HWNAS_NO_COMPILER", "0") not in ("", "0"):
        return "HWNAS_NO_COMPILER is set"
    reasons: list[str] = []
    for compiler in _compilers():
        try:
            return _load_or_build(compiler, sources, include)
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(f"{shlex.join(compiler)}: {_one_line(error)}")
    reason = "; ".join(reasons) or "no C++ compiler found (g++, clang++, or pip install ziglang)"
    _warn(reason)
    return reason


@functools.cache
def _warn(reason: str) -> None:
    """Once for all kernels that fail alike."""
    _log.warning("C++ kernels not built, slower forms are used: %s", reason)


def load_library(sources: tuple[Path, ...], *, include: tuple[str, ...]) -> ctypes.CDLL:
    """Load the shared library of a C++ file, building it if this machine has not yet.

    Args:
        sources: the C++ file, then the headers that it includes.
        include: folders of headers.

    Raises:
        NotImplementedError: there is no compiler that can build it; the message says why. The
            reason is logged once, so a caller may fall back in silence.
    """
    outcome = _outcome(sources, include)
    if isinstance(outcome, str):
        raise NotImplementedError(outcome)
    return outcome


def cache_dir() -> Path:
    """Where built kernels are kept: `$HWNAS_CACHE/kernels`, else `~/.cache/hwnas/kernels`."""
    root = os.environ.get("HWNAS_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "hwnas") / "kernels"


def _compilers() -> Iterator[tuple[str, ...]]:
    if os.environ.get("CXX"):
        yield tuple(shlex.split(os.environ["CXX"]))
    for name in ("g++", "clang++"):
        if shutil.which(name):
            yield (name,)
    if find_spec("ziglang"):
        yield (sys.executable, "-m", "ziglang", "c++")


def _path_of(compiler: tuple[str, ...], sources: tuple[Path, ...]) -> Path:
    """A name for all that the built code depends on."""
    banner = subprocess.run(
        (*compiler, "--version"), capture_output=True, check=True, timeout=60
    ).stdout
    texts = (source.read_bytes() for source in sources)
    facts = (*texts, repr(_FLAGS), repr(compiler), banner, _cpu(), version("jaxlib"))
    digest = hashlib.sha256()
    for fact in facts:
        digest.update((fact.encode() if isinstance(fact, str) else fact) + b"\0")
    return cache_dir() / f"{digest.hexdigest()[:32]}.so"


def _load_or_build(
    compiler: tuple[str, ...], sources: tuple[Path, ...], include: tuple[str, ...]
) -> ctypes.CDLL:
    library = _path_of(compiler, sources)
    if library.exists():
        try:
            return ctypes.CDLL(str(library))
        except OSError:
            _log.info("%s can't be loaded; building it again", library)
    _build(compiler, sources[0], include, library)
    return ctypes.CDLL(str(library))


def _build(
    compiler: tuple[str, ...], source: Path, include: tuple[str, ...], library: Path
) -> None:
    _log.info("building %s with %s, once on this machine", source.name, shlex.join(compiler))
    library.parent.mkdir(parents=True, exist_ok=True)
    folders = (flag for folder in include for flag in ("-isystem", folder))
    # Under its final name only when whole: another process may build the same one now.
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        built = Path(folder) / library.name
        subprocess.run(
            (*compiler, *_FLAGS, *folders, str(source), "-o", str(built)),
            capture_output=True,
            check=True,
            timeout=_BUILD_LIMIT_S,
        )
        built.replace(library)


def _cpu() -> str:
    """What `-march=native` depends on."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = (line for line in info.read_text().splitlines() if line.startswith(wanted))
    return platform.machine() + "\n".join(sorted(set(lines)))


def _one_line(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        said = next((line for line in lines if "error" in line), lines[0] if lines else "")
        return f"exit status {error.returncode} {said.strip()}".strip()
    return " ".join(str(error).split())
