"""Energy per inference, from the counters that processors and GPUs have.

RAPL counts what a CPU's packages draw, NVML what a GPU draws. Both count everything on the chip,
what it draws at rest and what other processes cause included: energies are sound on an otherwise
idle machine. Intel SDM vol. 3, 15.10 (RAPL); `nvmlDeviceGetTotalEnergyConsumption` (NVML).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_POWERCAP = Path("/sys/class/powercap")
# A counter that does not move for so long is read as it is.
_STUCK_S = 1.0


class Meter(Protocol):
    """A counter of energy."""

    @property
    def name(self) -> str:
        """What counts, for the provenance."""
        ...

    @property
    def window_s(self) -> float:
        """How long to run between two readings, at least."""
        ...

    @property
    def rounds(self) -> int:
        """Windows of each model."""
        ...

    def joules(self) -> float:
        """Joules since some point; never falls."""
        ...


@dataclass(frozen=True, slots=True)
class Energy:
    """Of a run.

    Args:
        value_mj: millijoules, median of the rounds.
        spread_mj: its standard error.
    """

    value_mj: float
    spread_mj: float

    def shared(self, inferences: int) -> "Energy":
        """Of one of so many that a run makes."""
        return Energy(self.value_mj / inferences, self.spread_mj / inferences)


@dataclass
class Rapl:
    """All packages of the CPUs; a counter that wraps around goes on counting here.

    It has to be read at least once a wrap: 262 kJ on most, 40 minutes at 100 W.

    Args:
        zones: folders of the packages.
        window_s: between readings; the counter moves every millisecond or so.
        rounds: windows of each model.
    """

    zones: Sequence[Path]
    window_s: float = 0.05
    rounds: int = 5
    _last_uj: dict[Path, int] = field(default_factory=dict)
    _total_uj: int = 0

    @property
    def name(self) -> str:
        """The kind of counter, and how many packages it sums."""
        return f"RAPL, {len(self.zones)} package{'s' * (len(self.zones) > 1)}"

    def joules(self) -> float:
        """Sum of the packages since the first reading."""
        for zone in self.zones:
            now = _number(zone / "energy_uj")
            passed = now - self._last_uj.get(zone, now)
            if passed < 0:
                passed += _number(zone / "max_energy_range_uj")
            self._total_uj += passed
            self._last_uj[zone] = now
        return self._total_uj / 1e6


@dataclass(frozen=True)
class Nvml:
    """A GPU, Volta or newer.

    Args:
        library: the module `pynvml`, initialised.
        handle: its handle of the GPU.
        window_s: between readings; the counter of an H100 moves every 100 ms.
        rounds: windows of each model.
    """

    library: Any
    handle: Any
    window_s: float = 0.2
    rounds: int = 3

    @property
    def name(self) -> str:
        """The kind of counter and the GPU."""
        return f"NVML, {self.library.nvmlDeviceGetName(self.handle)}"

    def joules(self) -> float:
        """Since the driver was loaded."""
        return self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3


def rapl(root: Path = _POWERCAP) -> Meter | None:
    """The meter of the CPU; None where there is none, or only root may read it."""
    zones = []
    for zone in sorted(root.glob("intel-rapl:*")):
        try:
            # Other zones are parts of a package, or the whole platform.
            if (zone / "name").read_text().startswith("package"):
                _number(zone / "energy_uj")
                _number(zone / "max_energy_range_uj")
                zones.append(zone)
        except (OSError, ValueError):
            continue
    return Rapl(zones) if zones else None


def nvml(index: int = 0) -> Meter | None:
    """The meter of an NVIDIA GPU; None without `pynvml`, its driver, or such a counter."""
    try:
        library = import_module("pynvml")
        library.nvmlInit()
        meter = Nvml(library, library.nvmlDeviceGetHandleByIndex(index))
        meter.joules()
    # pynvml's errors are its own; whatever it raises, there is nothing to read.
    except Exception:
        return None
    return meter


def measure(
    runs: Mapping[str, Callable[[], object]],
    meter: Meter,
    rng: np.random.Generator,
    clock: Callable[[], float] = time.perf_counter,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Energy]:
    """Energy of a run of each model; those that an interruption left out are missing.

    Each is repeated for the meter's window, from one step of the counter to another, in rounds of
    random order, so that a warmer chip touches all alike.

    Args:
        runs: what runs a model once and waits for its end.
        meter: the counter.
        rng: decides the orders.
        clock: seconds, monotonic.
        stopped: asked before each window.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(meter.rounds):
        for i in rng.permutation(len(runs)):
            if stopped():
                break
            name = list(runs)[i]
            found[name].append(_one_mj(runs[name], meter, clock))
    complete = {name: values for name, values in found.items() if len(values) == meter.rounds}
    return {
        name: Energy(float(np.median(values)), float(np.std(values, ddof=1)) / meter.rounds**0.5)
        for name, values in complete.items()
    }


def _one_mj(run: Callable[[], object], meter: Meter, clock: Callable[[], float]) -> float:
    before, _ = _step(run, meter, clock)
    n, start_s = 0, clock()
    while clock() - start_s < meter.window_s:
        run()
        n += 1
    after, more = _step(run, meter, clock)
    return (after - before) * 1e3 / (n + more)


def _step(run: Callable[[], object], meter: Meter, clock: Callable[[], float]) -> tuple[float, int]:
    """Run until the counter moves: what it says then, and how many runs that took."""
    before, n, start_s = meter.joules(), 0, clock()
    while clock() - start_s < _STUCK_S:
        run()
        n += 1
        if (now := meter.joules()) != before:
            return now, n
    return before, n


def _number(path: Path) -> int:
    return int(path.read_text())
