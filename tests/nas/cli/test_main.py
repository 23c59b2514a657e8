"""Exit codes, and that every error becomes the lines it carries."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nas.config
from search_spaces.errors import InputError, RunError

Nas = Callable[..., Any]


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def load(*_: object) -> None:
        raise error

    monkeypatch.setattr(nas.config, "load_any", load)


def test_input_errors_are_their_lines_on_stderr_and_code_2(
    nas: Nas, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failing(monkeypatch, InputError(["a.yaml:1: x", "a.yaml:2: y"]))
    result = nas("check", "a.yaml")
    assert (result.code, result.out, result.err) == (2, "", "a.yaml:1: x\na.yaml:2: y\n")


def test_a_failed_run_is_code_1(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, RunError("worker 3 died"))
    result = nas("check", "a.yaml")
    assert (result.code, result.err) == (1, "worker 3 died\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory (nothing is left): a smaller supernet.batch"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"),
            "out of memory (Out of memory allocating 9 bytes.): a smaller supernet.batch",
        ),
    ],
)
def test_too_little_memory_is_a_line_and_code_1(
    nas: Nas, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    _failing(monkeypatch, error)
    result = nas("check", "a.yaml")
    assert result.code == 1
    assert result.err.startswith(said)
    assert result.err.count("\n") == 1


def test_an_interrupt_is_code_130(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, KeyboardInterrupt())
    result = nas("check", "a.yaml")
    assert (result.code, result.err) == (130, "interrupted\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_place_and_is_code_2(
    nas: Nas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    _failing(monkeypatch, OSError(number, "no space", str(tmp_path / "run.db")))
    result = nas("check", "a.yaml")
    assert result.code == 2
    assert result.err.startswith(f"{tmp_path / 'run.db'}: no space left: ")
    assert result.err.count("\n") == 1


def test_a_full_disk_without_a_name_tells_the_current_folder(
    nas: Nas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    _failing(monkeypatch, OSError(errno.ENOSPC, "no space"))
    result = nas("check", "a.yaml")
    assert result.code == 2
    assert f"free in {tmp_path}" in result.err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.cli import main

    _failing(monkeypatch, ZeroDivisionError("oops"))
    with pytest.raises(ZeroDivisionError, match="oops"):
        main(["check", "a.yaml"])
    _failing(monkeypatch, OSError(errno.EIO, "input/output error"))
    with pytest.raises(OSError, match="input/output error"):
        main(["check", "a.yaml"])


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["check"], ["check", "a.yaml", "--nonsense"], ["devices", "a", "b"]]
)
def test_wrong_usage_is_code_2_and_says_nothing_on_stdout(nas: Nas, arguments: list[str]) -> None:
    result = nas(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: nas" in result.err


def test_help_is_code_0(nas: Nas) -> None:
    result = nas("--help")
    assert (result.code, result.err) == (0, "")
    assert "check" in result.out
