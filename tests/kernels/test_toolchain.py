import logging
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kernels import toolchain

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
SOURCE = 'extern "C" int answer() { return 42; }\n'
REPORT = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
import jax.numpy as jnp
from kernels.depthwise_conv import api
from kernels.inventory import in_use
y = api.depthwise_conv(jnp.ones((1, 4, 4, 16)), jnp.ones((3, 3, 16)), 1, 1)
api.depthwise_conv(jnp.ones((1, 4, 4, 16)), jnp.ones((3, 3, 16)), 1, 1)
used = in_use("depthwise_conv")
print(used.name, "|", used.reason, "|", float(y.sum()))
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HWNAS_NO_COMPILER", raising=False)
    path = tmp_path / "answer.cc"
    path.write_text(SOURCE)
    toolchain._outcome.cache_clear()
    yield path
    toolchain._outcome.cache_clear()


def built(tmp_path):
    return sorted((tmp_path / "cache" / "kernels").glob("*"))


def broken_compiler(folder: Path) -> str:
    """Answers --version and fails to compile."""
    script = folder / "brokencxx"
    script.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "x.cc: error: no" >&2\nexit 3\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def in_subprocess(tmp_path, **environment):
    without_zig = "import sys; sys.modules['ziglang'] = None\n"
    inherited = {key: value for key, value in os.environ.items() if key != "HWNAS_NO_COMPILER"}
    return subprocess.run(
        [sys.executable, "-c", without_zig + REPORT],
        env=inherited | {"HWNAS_CACHE": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@needs_compiler
def test_built_once_and_found_again(source, tmp_path):
    assert toolchain.load_library((source,), include=(str(tmp_path),)).answer() == 42
    (library,) = built(tmp_path)
    made = library.stat().st_mtime_ns
    toolchain._outcome.cache_clear()
    assert toolchain.load_library((source,), include=(str(tmp_path),)).answer() == 42
    assert [path.stat().st_mtime_ns for path in built(tmp_path)] == [made]


@needs_compiler
def test_another_source_is_another_library(source, tmp_path):
    toolchain.load_library((source,), include=(str(tmp_path),))
    source.write_text(SOURCE.replace("42", "43"))
    toolchain._outcome.cache_clear()
    assert toolchain.load_library((source,), include=(str(tmp_path),)).answer() == 43
    assert len(built(tmp_path)) == 2


@needs_compiler
def test_a_torn_library_is_built_again(source, tmp_path):
    # Not loaded before: a loaded library would be served from memory.
    compiler = next(toolchain._compilers())
    library = toolchain._path_of(compiler, (source,))
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\x7fELF torn")
    assert toolchain.load_library((source,), include=(str(tmp_path),)).answer() == 42


@needs_compiler
def test_builds_at_once_do_not_disturb_each_other(source, tmp_path):
    compiler = next(toolchain._compilers())

    def load(_):
        return toolchain._load_or_build(compiler, (source,), (str(tmp_path),)).answer()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(4))) == [42] * 4
    assert len(built(tmp_path)) == 1


@needs_compiler
def test_a_broken_compiler_is_passed_over(source, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", broken_compiler(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert toolchain.load_library((source,), include=(str(tmp_path),)).answer() == 42
    assert not caplog.records


def test_every_compiler_broken(source, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", broken_compiler(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "find_spec", lambda _: None)
    for _ in range(2):
        with pytest.raises(NotImplementedError, match=r"brokencxx: exit status 3 x.cc: error: no"):
            toolchain.load_library((source,), include=(str(tmp_path),))
    assert len(caplog.records) == 1


def test_no_compiler_found(source, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "find_spec", lambda _: None)
    with pytest.raises(NotImplementedError, match=r"no C\+\+ compiler found"):
        toolchain.load_library((source,), include=(str(tmp_path),))


def test_the_convolution_falls_back_when_told_to(tmp_path):
    done = in_subprocess(tmp_path, HWNAS_NO_COMPILER="1")
    assert done.stdout.split("|")[0].strip() == "shift_add"
    assert "HWNAS_NO_COMPILER is set" in done.stdout
    assert float(done.stdout.split("|")[2]) == 16 * 100
    assert "WARNING" not in done.stderr


def test_the_convolution_falls_back_with_one_warning(tmp_path):
    done = in_subprocess(tmp_path, CXX=broken_compiler(tmp_path), PATH=str(tmp_path))
    name, reason, total = done.stdout.split("|")
    assert name.strip() == "shift_add"
    assert "error: no" in reason
    assert float(total) == 16 * 100
    assert done.stderr.count("WARNING") == 1
