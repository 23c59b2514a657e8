from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hw_profiles import machine
from hw_profiles.device import load_device
from hw_profiles.machine import available_bytes, describe, detect
from hw_profiles.profilers import registry
from hw_profiles.provenance import capture, cpu_name, governor, turbo
from search_spaces.errors import InputError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of two cores with two threads each."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    files = {
        "proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable: 2048 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
    }
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        topology = f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        files[topology] = f"{siblings}\n"
    for number, (level, kind, size) in enumerate([(1, "Data", "48K"), (2, "Unified", "2048K")]):
        folder = f"sys/devices/system/cpu/cpu0/cache/index{number}"
        files |= {f"{folder}/level": f"{level}\n", f"{folder}/type": kind, f"{folder}/size": size}
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    return tmp_path / "root"


def test_a_machine_is_described(root: Path) -> None:
    facts = describe(root)
    assert facts["cores"] == 2
    assert facts["caches"] == {"L1d": "48K", "L2": "2048K"}
    assert available_bytes(root) == 2 << 20
    assert (facts["memory_gib"], facts["governor"], facts["turbo"]) == (15.6, "powersave", True)


def test_what_the_system_does_not_tell_is_left_out(tmp_path: Path) -> None:
    assert not {"caches", "memory_gib", "governor", "turbo"} & describe(tmp_path).keys()


def test_detect_writes_a_device_that_can_be_measured(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = {"platform": "gpu", "model": "NVIDIA H100", "count": 2}
    monkeypatch.setattr(machine, "accelerators", lambda: [gpu])
    cpu, accelerator = detect("here", root)
    assert load_device("here") == cpu
    assert (cpu.runner, cpu.threads, cpu.machine["caches"]["L2"]) == ("onnxruntime_cpu", 2, "2048K")
    assert registry.create(cpu).runtime.startswith("onnxruntime")
    assert (accelerator.id, accelerator.kind, accelerator.machine) == ("here-gpu", "gpu", gpu)
    assert accelerator.description == "2 x NVIDIA H100"
    written = YAML(typ="safe").load((cpu.folder / "device.yaml").read_text())
    assert written["machine"]["turbo"] is True
    with pytest.raises(InputError, match="'here' exists already"):
        detect("here", root)


def test_turbo_is_told_by_either_driver(root: Path, tmp_path: Path) -> None:
    assert turbo(root) is True
    (root / "sys/devices/system/cpu/intel_pstate/no_turbo").write_text("1")
    assert turbo(root) is False
    boost = root / "sys/devices/system/cpu/cpufreq/boost"
    boost.parent.mkdir()
    boost.write_text("1")
    assert turbo(root) is True
    assert turbo(tmp_path / "none") is None
    assert governor(root) == "powersave"


def test_a_machine_that_is_not_quiet_is_warned_of() -> None:
    here = capture("fake 1", 1)
    quiet = replace(here, governor="performance", turbo=False, cores=4, load_start=0.4)
    assert quiet.judged().warnings == ()
    busy = replace(quiet, governor="powersave", turbo=True, load_start=3.5, noisy=True).judged()
    assert [text.split(":")[0] for text in busy.warnings] == [
        "governor powersave",
        "turbo is on",
        "load 3.5 on 4 cores when it began",
        "other work disturbed the measuring",
    ]


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model name : Xeon\ncpu family : 6\nmodel : 207\n", "Xeon (family 6 model 207)"),
        ("CPU part : 0xd08\n\nModel : Raspberry Pi 4 Model B\n", "Raspberry Pi 4 Model B"),
        ("", "aarch64"),
    ],
)
def test_a_processor_has_a_name(cpuinfo: str, name: str) -> None:
    assert cpu_name(cpuinfo, "aarch64") == name
