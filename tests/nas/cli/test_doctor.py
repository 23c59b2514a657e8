import json
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernels import allocator
from nas.cli import diagnosis

Nas = Callable[..., Any]


def _statuses(findings: Iterator[diagnosis.Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


def test_this_installation_is_not_broken(nas: Nas) -> None:
    result = nas("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(result.out)}
    assert (result.code, result.err) == (0, "")
    assert findings["jax"]["found"] == metadata.version("jax")
    assert findings["jax runs on"]["found"].startswith("cpu")
    assert "CPUExecutionProvider" in findings["onnxruntime runs on"]["found"]
    assert "pytest" not in findings


def test_broken_is_code_1_with_the_fix(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = diagnosis.Finding("jax", "broken", "not installed", "pip install jax")
    monkeypatch.setattr(diagnosis, "diagnose", lambda: [finding])
    result = nas("doctor")
    assert result.code == 1
    assert result.out.splitlines()[-1] == "jax: pip install jax"


def test_missing_and_outdated_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["jax>=0.1", "numpy<1", "no-such-thing>=2", "ruff; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    findings = {finding.check: finding for finding in diagnosis.libraries()}
    assert {k: f.status for k, f in findings.items()} == {
        "jax": "ok",
        "numpy": "broken",
        "no-such-thing": "broken",
    }
    assert findings["no-such-thing"].fix == "pip install 'no-such-thing>=2'"
    assert "needed <1" in findings["numpy"].found


def test_another_distribution_of_an_import_name(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"kernels": ["kernels"], "nas": ["hwnas"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    (finding,) = diagnosis.import_names()
    assert (finding.check, finding.status) == ("import kernels", "broken")
    assert "also installed by kernels" in finding.found


def test_an_import_name_found_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SimpleNamespace(origin=str(tmp_path / "predictors" / "__init__.py"))
    real = diagnosis.find_spec
    monkeypatch.setattr(diagnosis, "find_spec", lambda n: spec if n == "predictors" else real(n))
    (finding,) = diagnosis.import_names()
    assert (finding.check, finding.status) == ("import predictors", "broken")
    assert str(tmp_path) in finding.found


def test_a_runtime_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise RuntimeError("libcudart.so not found\nmore")

    monkeypatch.setattr(diagnosis, "_jax_devices", fail)
    findings = list(diagnosis.runtimes())
    assert findings[0].status == "broken"
    assert findings[0].found == "RuntimeError: libcudart.so not found"
    assert findings[1].status == "ok"


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "new"))
    assert _statuses(diagnosis.cache())["cache folder"] == "ok"
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "file"))
    (finding,) = diagnosis.cache()
    assert finding.status == "broken"
    assert "HWNAS_CACHE" in finding.fix


def test_little_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**29))
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    findings = [f for f in diagnosis.cache() if f.check.startswith("free disk")]
    assert [(f.status, f.found) for f in findings] == [("slow", "0.5 GiB")] * 2


def test_the_governor(monkeypatch: pytest.MonkeyPatch) -> None:
    for governor, status in (("powersave", "slow"), ("performance", "ok"), (None, "ok")):
        machine = SimpleNamespace(cpu="a CPU", cores=2, governor=governor)
        monkeypatch.setattr(diagnosis, "capture", lambda machine=machine, **_: machine)
        assert diagnosis.processor().status == status


def test_the_allocator_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.36"))
    for name in allocator.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert diagnosis.memory_allocator().status == "slow"
    for name, value in allocator.SETTINGS.items():
        assert f"{name}={value}" in diagnosis.memory_allocator().fix
        monkeypatch.setenv(name, value)
    assert diagnosis.memory_allocator().status == "ok"
    monkeypatch.delenv("GLIBC_TUNABLES")
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert diagnosis.memory_allocator().status == "ok"


def test_relaunch_starts_the_same_command_with_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = []
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator.os, "execve", lambda *call: started.append(call))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-I", "nas", "run", "a.yaml"])
    for name in allocator.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "5")
    allocator.relaunch()
    (program, arguments, environment) = started[0]
    assert (program, arguments[1:]) == (sys.executable, ["-I", "nas", "run", "a.yaml"])
    assert environment["MALLOC_TOP_PAD_"] == "5"
    for name in allocator.SETTINGS:
        monkeypatch.setenv(name, environment[name])
    allocator.relaunch()
    assert len(started) == 1
