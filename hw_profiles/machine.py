"""What this machine is, as far as Linux tells: for the description of a device and for provenance.

Everything is read under `root`, so that tests give a folder of their own.
"""

import os
import platform
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from hw_profiles.device import DeviceSpec, new_device
from hw_profiles.provenance import cpu_model, governor, turbo

_ROOT = Path("/")
_CPU0 = "sys/devices/system/cpu/cpu0"


def describe(root: Path = _ROOT) -> dict[str, Any]:
    """Facts for the key `machine` of a `device.yaml`; what can't be read is left out.

    Returns:
        `cpu`, `architecture`, `cores` (physical), `logical_cores`, `caches` (`L1d: 48K`),
        `memory_gib`, `governor`, `turbo`.
    """
    facts = {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores": _physical_cores(root),
        "logical_cores": os.cpu_count(),
        "caches": _caches(root),
        "memory_gib": _memory_gib(root),
        "governor": governor(root),
        "turbo": turbo(root),
    }
    return {name: value for name, value in facts.items() if value not in (None, {})}


def available_bytes(root: Path = _ROOT) -> int:
    """Memory that can be had without swapping; 0 where Linux does not tell."""
    return (_meminfo_kib("MemAvailable", root) or 0) << 10


def accelerators() -> list[dict[str, Any]]:
    """The kinds of GPU or TPU that JAX offers: `platform`, `model`, `count`; without JAX none."""
    try:
        devices = import_module("jax").devices()
    # A broken driver raises anything from ImportError to RuntimeError: then there is none to use.
    except Exception:
        return []
    kinds: dict[tuple[str, str], int] = {}
    for device in devices:
        if device.platform != "cpu":
            kind = (device.platform, device.device_kind)
            kinds[kind] = kinds.get(kind, 0) + 1
    return [{"platform": p, "model": m, "count": n} for (p, m), n in kinds.items()]


def detect(id: str | None = None, root: Path = _ROOT) -> list[DeviceSpec]:  # noqa: A002
    """Describe this machine's processor, and every kind of accelerator, in the user's cache.

    Args:
        id: of the processor; the host's name if not given. An accelerator's has its platform after
            it: `ID-gpu`.
        root: where the system's files are.

    Raises:
        InputError: there is a device of such an id, or the place can't be written.
    """
    from hw_profiles.profilers import registry

    name = id or re.sub(r"[^a-z0-9]+", "-", platform.node().lower()).strip("-") or "machine"
    facts = describe(root)
    threads = facts.get("cores", 1)
    made = [
        new_device(
            name,
            kind="cpu",
            description=f"{facts['cpu']}, {threads} threads",
            runner="onnxruntime_cpu",
            threads=threads,
            machine=facts,
        )
    ]
    runner = "jax_runtime" if "jax_runtime" in registry.names() else None
    for number, found in enumerate(accelerators()):
        kind = "tpu" if found["platform"] == "tpu" else "gpu"
        added = new_device(
            f"{name}-{kind}{number or ''}",
            kind=kind,
            description=f"{found['count']} x {found['model']}",
            runner=runner,
            machine=found,
        )
        made.append(added)
    return made


def _physical_cores(root: Path) -> int | None:
    """Cores that share no siblings."""
    cores = {
        path.read_text().strip()
        for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
    }
    return len(cores) or os.cpu_count()


def _caches(root: Path) -> dict[str, str]:
    caches = {}
    for folder in sorted((root / _CPU0 / "cache").glob("index[0-9]*")):
        try:
            level, kind, size = (
                (folder / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
        caches[f"L{level}{letter}"] = size
    return caches


def _memory_gib(root: Path) -> float | None:
    kib = _meminfo_kib("MemTotal", root)
    return round(kib / 2**20, 1) if kib else None


def _meminfo_kib(name: str, root: Path) -> int | None:
    try:
        text = (root / "proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else None
