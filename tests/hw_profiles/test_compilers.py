import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hw_profiles import compilers
from hw_profiles.compilers import CUDA, TPU, Compiler, compile_all, compiler_of
from nas.testing.device_suite import SPACE
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph

# Answers as `compile_worker` does, with the number of nodes as cycles and its own process id.
WORKER = """
import json, os, sys
print("hello from the compiler", file=sys.stderr)
for line in sys.stdin:
    asked = json.loads(line)
    {body}
    answer = dict(cycles=len(asked["graph"]["nodes"]), silent=[], pid=os.getpid(), **asked)
    del answer["graph"]
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    return tmp_path


def install(compiler: Compiler, release: str) -> None:
    """What `pip install --target` leaves, as far as it is looked at."""
    for file in compiler.files:
        (compiler.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (compiler.folder / file).touch()
    facts = compiler.folder / f"{compiler.distribution.replace('-', '_')}-{release}.dist-info"
    facts.mkdir()
    text = f"Metadata-Version: 2.1\nName: {compiler.distribution}\nVersion: {release}\n"
    (facts / "METADATA").write_text(text)


def answer(monkeypatch: pytest.MonkeyPatch, body: str = "pass") -> None:
    """Make a script stand in for the compiler."""
    command = [sys.executable, "-c", WORKER.format(body=body)]
    monkeypatch.setattr(compilers, "_command", lambda _: command)


@pytest.fixture
def tpu(cache: Path) -> Compiler:
    install(TPU, "0.0.42.7")
    return TPU


def graphs(n: int) -> list[Graph]:
    import numpy as np

    archs = np.unique(SPACE.sample(np.random.default_rng(0), 4 * n), axis=0)[:n]
    return [SPACE.build(arch) for arch in archs]


def compiled(n: int, done: Any = None) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    compile_all("v5e", graphs(n), 1, "bfloat16", done or found.__setitem__)
    return found


def test_extras_are_what_the_messages_ask_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert list(TPU.requirements) == extras[TPU.extra]
    # The plug-in is pinned to the release of JAX at hand; the extra takes those of the dependency.
    [jax] = [one for one in project["dependencies"] if one.startswith("jax>")]
    assert extras[CUDA.extra][0].removeprefix("jax-cuda13-plugin") == jax.removeprefix("jax")
    assert list(CUDA.requirements[1:]) == extras[CUDA.extra][1:]


@pytest.mark.parametrize("compiler", [TPU, CUDA])
def test_a_missing_compiler_is_one_line_with_the_command(cache: Path, compiler: Compiler) -> None:
    target = "v5e" if compiler is TPU else "sm_87"
    assert compiler_of(target) is compiler
    if any((Path(place) / compiler.files[0]).exists() for place in sys.path):
        pytest.skip("it is installed beside hwnas")
    with pytest.raises(InputError, match=r"pip install --target .*compilers") as caught:
        compile_all(target, graphs(1), 1, "bfloat16", lambda *_: None)
    [line] = caught.value.problems
    assert compiler.requirements[0] in line
    assert f"pip install 'hwnas[{compiler.extra}]'" in line


def test_an_unknown_target_names_the_known() -> None:
    with pytest.raises(InputError, match=r"'sm_75': must be one of sm_80, sm_87, sm_90a, v5e"):
        compiler_of("sm_75")


def test_its_own_folder_is_found_with_its_version(tpu: Compiler) -> None:
    assert tpu.find() == ("0.0.42.7", tpu.folder)


def test_networks_are_compiled_by_two_and_kept(
    tpu: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "__import__('time').sleep(0.05)")
    found = compiled(6)
    assert sorted(found) == list(range(6))
    assert [found[i]["cycles"] for i in range(6)] == [len(g.nodes) for g in graphs(6)]
    assert {(one["batch"], one["dtype"]) for one in found.values()} == {(1, "bfloat16")}
    assert len({one["pid"] for one in found.values()}) == 2
    monkeypatch.setattr(compilers, "_command", lambda _: ["false"])
    assert compiled(6) == found


def test_what_a_compiler_refuses_is_said_and_not_kept(
    tpu: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, """print('{"error": "ValueError: too large"}', flush=True); continue""")
    with pytest.raises(InputError, match=r"target v5e: can't compile a network: .*too large"):
        compiled(1)
    answer(monkeypatch)
    assert len(compiled(1)) == 1


def test_a_dead_process_is_said_with_its_last_words(
    tpu: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "print('out of luck', file=sys.stderr); sys.exit(3)")
    with pytest.raises(InputError, match=r"process ended with 3: out of luck"):
        compiled(1)


def test_an_interruption_leaves_no_process(tpu: Compiler, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    pids: list[int] = []

    def stop(number: int, said: dict[str, Any]) -> None:
        pids.append(said["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled(8, stop)
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
