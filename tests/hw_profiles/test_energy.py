from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hw_profiles import energy
from hw_profiles.energy import Nvml, Rapl, measure, nvml, rapl


def zone(root: Path, name: str, kind: str, energy_uj: int, range_uj: int = 1000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 50)
    zone(tmp_path, "intel-rapl:0:0", "core", 90)
    zone(tmp_path, "intel-rapl:2", "psys", 400)
    meter = rapl(tmp_path)
    assert meter is not None
    assert meter.name == "RAPL, 2 packages"
    assert meter.joules() == 0
    (first / "energy_uj").write_text("130")
    (second / "energy_uj").write_text("55")
    assert meter.joules() == pytest.approx(35e-6)


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 900)
    meter = Rapl([folder])
    readings = [meter.joules()]
    for now in (990, 40, 500, 30):
        (folder / "energy_uj").write_text(str(now))
        readings.append(meter.joules())
    np.testing.assert_allclose(np.diff(readings) * 1e6, [90, 50, 460, 530])


def test_what_can_not_be_read_is_no_meter(tmp_path: Path) -> None:
    assert rapl(tmp_path / "none") is None
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (folder / "energy_uj").unlink()
    assert rapl(tmp_path) is None
    # As root reads everything, permission is taken by an unreadable file: a folder of that name.
    (folder / "energy_uj").mkdir()
    assert rapl(tmp_path) is None


def test_nvml_is_read_through_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"gpu {index}",
        nvmlDeviceGetTotalEnergyConsumption=lambda _: 2500,
        nvmlDeviceGetName=lambda handle: f"H100 as {handle}",
    )
    monkeypatch.setattr(energy, "import_module", {"pynvml": library}.__getitem__)
    meter = nvml(1)
    assert isinstance(meter, Nvml)
    assert meter.joules() == 2.5
    assert meter.name == "NVML, H100 as gpu 1"

    def broken() -> None:
        raise RuntimeError("no driver")

    library.nvmlInit = broken
    assert nvml() is None


class Chip:
    """A clock and a counter that steps: a watt at rest, and what each run draws."""

    name = "fake"
    window_s = 0.05
    rounds = 3

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s = self.total_j = self.said_j = 0.0
        self.step_s, self.said_s = step_s, 0.0

    def clock(self) -> float:
        return self.now_s

    def joules(self) -> float:
        if self.now_s - self.said_s >= self.step_s:
            self.said_j, self.said_s = self.total_j, self.now_s
        return self.said_j

    def work(self, ms: float, watt: float) -> None:
        self.now_s += ms / 1e3
        self.total_j += ms / 1e3 * (watt + 1.0)


def test_energy_of_a_run_is_what_the_meter_counts() -> None:
    chip = Chip()
    runs = {
        "short": lambda: chip.work(0.5, 20.0),
        "long": lambda: chip.work(200.0, 3.0),
    }
    found = measure(runs, chip, np.random.default_rng(0), chip.clock)
    assert found["short"].value_mj == pytest.approx(0.5 * 21)
    assert found["long"].value_mj == pytest.approx(200 * 4)
    assert found["short"].spread_mj == pytest.approx(0.0, abs=1e-9)


def test_the_steps_of_a_counter_do_not_matter() -> None:
    chip = Chip(step_s=0.1)
    runs = {"one": lambda: chip.work(0.7, 20.0), "other": lambda: chip.work(0.9, 50.0)}
    found = measure(runs, chip, np.random.default_rng(0), chip.clock)
    assert found["one"].value_mj == pytest.approx(0.7 * 21)
    assert found["other"].value_mj == pytest.approx(0.9 * 51)


def test_a_counter_that_stands_still_is_not_waited_for() -> None:
    chip = Chip(step_s=1e9)
    found = measure({"a": lambda: chip.work(1, 1)}, chip, np.random.default_rng(0), chip.clock)
    assert found["a"].value_mj == 0.0
    assert chip.now_s < 10


def test_an_interruption_leaves_out_what_is_not_known() -> None:
    chip, calls = Chip(), list[int]()

    def stopped() -> bool:
        calls.append(1)
        return len(calls) > 4

    runs = {"a": lambda: chip.work(1, 1), "b": lambda: chip.work(1, 1)}
    assert measure(runs, chip, np.random.default_rng(0), chip.clock, stopped) == {}
