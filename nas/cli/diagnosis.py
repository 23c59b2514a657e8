"""The checks of `nas doctor`, one function each."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from hw_profiles.device import cache_folder
from hw_profiles.provenance import capture
from kernels import allocator

_PACKAGES = ("kernels", "search_spaces", "hw_profiles", "predictors", "nas", "experiments")
_ENOUGH_DISK_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        check: what was looked at.
        status: `slow` works, but measurements or training suffer; `broken` does not work.
        found: the facts.
        fix: what to do about it; empty where all is well.
    """

    check: str
    status: Literal["ok", "slow", "broken"]
    found: str
    fix: str = ""


def diagnose() -> list[Finding]:
    """All checks: the installation first, then the machine."""
    return [
        Finding("python", "ok", f"{platform.python_version()} ({sys.executable})"),
        *libraries(),
        *import_names(),
        *runtimes(),
        compiled_kernels(),
        processor(),
        memory_allocator(),
        *cache(),
    ]


def libraries() -> Iterator[Finding]:
    """Versions of what hwnas depends on; one that is missing or out of range is broken."""
    for line in metadata.requires("hwnas") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        fix = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(requirement.name, "broken", "not installed", fix)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding(requirement.name, "ok", version)
        else:
            found = f"{version}, needed {requirement.specifier}"
            yield Finding(requirement.name, "broken", found, fix)


def import_names() -> Iterator[Finding]:
    """Whether Python finds our root packages, and not another distribution's of the same name."""
    home = Path(__file__).parents[2]
    owners = metadata.packages_distributions()
    wrong = []
    for name in _PACKAGES:
        spec = find_spec(name)
        origin = Path(spec.origin).parents[1] if spec and spec.origin else None
        others = [owner for owner in owners.get(name, []) if owner != "hwnas"]
        if origin != home or others:
            wrong.append(name)
            by = f"also installed by {', '.join(others)}" if others else "not hwnas's own"
            fix = "install hwnas in an environment of its own"
            yield Finding(f"import {name}", "broken", f"{origin or 'nowhere'}: {by}", fix)
    if not wrong:
        yield Finding("import names", "ok", f"{', '.join(_PACKAGES)} in {home}")


def runtimes() -> Iterator[Finding]:
    """Whether JAX and ONNX Runtime start, and on what they run."""
    for name, describe in (("jax", _jax_devices), ("onnxruntime", _onnxruntime_providers)):
        try:
            yield Finding(f"{name} runs on", "ok", describe())
        # A broken binary raises anything from ImportError to RuntimeError; report, don't crash.
        except Exception as error:
            found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            fix = f"pip install --force-reinstall {name}"
            yield Finding(f"{name} runs on", "broken", found, fix)


def _jax_devices() -> str:
    jax = import_module("jax")
    return ", ".join(f"{device.platform}:{device.id}" for device in jax.devices())


def _onnxruntime_providers() -> str:
    return ", ".join(import_module("onnxruntime").get_available_providers())


def compiled_kernels() -> Finding:
    """What computes the operations that training spends its time on."""
    from kernels.inventory import all_in_use

    used = all_in_use()
    found = ", ".join(f"{name} {use.name}" for name, use in used.items())
    reasons = dict.fromkeys(use.reason for use in used.values() if use.reason)
    if not reasons:
        return Finding("kernels", "ok", found)
    fix = "training is several times slower; install g++, or pip install ziglang: "
    fix += "; ".join(reasons)
    return Finding("kernels", "slow", found, fix)


def processor() -> Finding:
    """The CPU, the cores that this process may use, and whether its clock is left to wander."""
    machine = capture(runtime="none", threads=1)
    found = f"{machine.cpu}, {machine.cores} cores, governor {machine.governor or 'unknown'}"
    if machine.governor in (None, "performance"):
        return Finding("processor", "ok", found)
    fix = "measured latencies vary less under the governor `performance` (cpupower frequency-set)"
    return Finding("processor", "slow", found, fix)


def memory_allocator() -> Finding:
    """Whether the C library's allocator keeps large arrays (`kernels.allocator`)."""
    missing = allocator.missing()
    if not missing:
        return Finding("allocator", "ok", "keeps large arrays")
    settings = " ".join(f"{name}={allocator.SETTINGS[name]}" for name in missing)
    fix = f"for scripts and notebooks, start Python with {settings}"
    return Finding("allocator", "slow", "gives large arrays back to the system", fix)


def cache() -> Iterator[Finding]:
    """Whether the folder of devices and tables can be written, and has room."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        found = f"{folder}: {(error.strerror or str(error)).lower()}"
        fix = "make it writable, or set HWNAS_CACHE to a folder that is"
        yield Finding("cache folder", "broken", found, fix)
        return
    yield Finding("cache folder", "ok", str(folder))
    for place, where in (("cache", folder), ("this folder", Path.cwd())):
        free_gib = shutil.disk_usage(where).free / 2**30
        enough = free_gib >= _ENOUGH_DISK_GIB
        fix = "" if enough else f"a run needs up to {_ENOUGH_DISK_GIB:g} GiB: free some space"
        status = "ok" if enough else "slow"
        yield Finding(f"free disk, {place}", status, f"{free_gib:.1f} GiB", fix)
