"""Where and when a measurement was taken, so that it is never mixed with another machine's."""

import os
import platform
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# A drift above it is told; between groups of models it is mended by measuring again.
DRIFT = 0.03


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
        noisy: whether other work disturbed the session.
        turbo: whether the clock may rise above its nominal rate; None where it is not told.
        drift: slowest part of the session over its fastest, minus 1, as the sentinels saw it; None
            where too little was measured to tell.
        meter: what counted energy; None where nothing did.
        warnings: what kept the machine from being a quiet one.
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
    turbo: bool | None = None
    drift: float | None = None
    meter: str | None = None
    warnings: tuple[str, ...] = ()

    def identity(self) -> dict[str, str | int]:
        """What must be equal for two measurements to be comparable."""
        return {"CPU": self.cpu, "runtime": self.runtime, "threads": self.threads}

    def finished(
        self, noisy: bool, drift: float | None = None, meter: str | None = None
    ) -> "Provenance":
        """The same at the end of the session."""
        return replace(self, load_end=_load(), noisy=noisy, drift=drift, meter=meter).judged()

    def judged(self) -> "Provenance":
        """The same with its warnings."""
        found = {
            f"governor {self.governor}: the clock wanders": self.governor
            not in (None, "performance"),
            "turbo is on: the clock depends on temperature and neighbours": self.turbo,
            f"load {self.load_start} on {self.cores} cores when it began": (
                self.load_start > max(self.cores - self.threads, 0.5)
            ),
            "other work disturbed the measuring": self.noisy,
            f"the machine drifted by {self.drift or 0.0:.1%} while it was measured": (
                self.drift is not None and self.drift > DRIFT
            ),
        }
        return replace(self, warnings=tuple(text for text, true in found.items() if true))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def capture(runtime: str, threads: int) -> Provenance:
    """This machine, now."""
    return Provenance(
        host=platform.node(),
        cpu=cpu_model(),
        cores=usable_cores(),
        governor=governor(),
        threads=threads,
        runtime=runtime,
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        hwnas=hwnas_version(),
        commit=hwnas_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        load_start=_load(),
        turbo=turbo(),
    ).judged()


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


def governor(root: Path = Path("/")) -> str | None:
    """What decides on the clock; None where the system does not tell."""
    return _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def turbo(root: Path = Path("/")) -> bool | None:
    """Whether the clock may rise above its nominal rate; None where the system does not tell."""
    cpu = root / "sys/devices/system/cpu"
    off, on = _text(cpu / "intel_pstate/no_turbo"), _text(cpu / "cpufreq/boost")
    if off is None and on is None:
        return None
    return off == "0" or on == "1"


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
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
