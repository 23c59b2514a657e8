"""Where and when a measurement was taken, so that it is never mixed with another machine's."""

import os
import platform
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Provenance:
    """One session of measuring.

    Args:
        host: host name.
        cpu: model of the processor.
        cores: processors that this process may use.
        governor: frequency governor; None where the system does not tell.
        threads: threads that the runtime used.
        runtime: what ran the networks, with its version.
        os: operating system and its release.
        python: Python's version.
        hwnas: hwnas' version.
        commit: git commit of the checkout that ran; None for an installed wheel.
        date: start, ISO 8601 in UTC.
        load_start: one-minute load average at the start.
        load_end: the same at the end; None while the session runs.
        noisy: whether the sentinels said that other work disturbed the session.
    """

    host: str
    cpu: str
    cores: int
    governor: str | None
    threads: int
    runtime: str
    os: str
    python: str
    hwnas: str
    commit: str | None
    date: str
    load_start: float
    load_end: float | None = None
    noisy: bool = False

    def identity(self) -> dict[str, str | int]:
        """What must be equal for two measurements to be comparable."""
        return {"CPU": self.cpu, "runtime": self.runtime, "threads": self.threads}

    def finished(self, noisy: bool) -> "Provenance":
        """The same at the end of the session."""
        return replace(self, load_end=_load(), noisy=noisy)


def capture(runtime: str, threads: int) -> Provenance:
    """This machine, now."""
    return Provenance(
        host=platform.node(),
        cpu=cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        governor=_governor(),
        threads=threads,
        runtime=runtime,
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        hwnas=hwnas_version(),
        commit=hwnas_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        load_start=_load(),
    )


@cache
def cpu_model() -> str:
    """Name of this machine's processor."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        cpuinfo = ""
    return cpu_name(cpuinfo, platform.processor() or platform.machine())


def cpu_name(cpuinfo: str, otherwise: str) -> str:
    """Name of a processor; family and model too, since virtual machines share one name.

    Args:
        cpuinfo: text of `/proc/cpuinfo`, empty where there is none.
        otherwise: what it is called if that does not tell (most ARM systems).
    """
    lines = (line.partition(":") for line in reversed(cpuinfo.splitlines()))
    fields = {key.strip(): value.strip() for key, _, value in lines}
    # Boards name themselves in one line for all cores: `Model : Raspberry Pi 4 Model B Rev 1.4`.
    name = fields.get("model name") or fields.get("Model") or otherwise
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']} model {fields.get('model', '?')})"
    return name


def _governor() -> str | None:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def hwnas_version() -> str:
    """The version of hwnas; `unknown` where it is not installed."""
    try:
        return version("hwnas")
    except PackageNotFoundError:
        return "unknown"


@cache
def hwnas_commit() -> str | None:
    """The git commit of the checkout that runs; None for an installed wheel."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
