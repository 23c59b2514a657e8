"""Generated C in the emulator: the bytes of the reference, whatever builds it, whatever runs it."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hw_profiles.mcu.codegen import Sources, generate, wrong_bytes
from hw_profiles.mcu.core import CORES
from hw_profiles.mcu.lower import Int8Network, lower
from hw_profiles.mcu.toolchain import Compiler
from hw_profiles.weights import random_params
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.quantize import quantize_for_timing
from search_spaces.registry import create
from search_spaces.space import SearchSpace

pytest.importorskip("unicorn")
pytest.importorskip("ziglang")
Spaces = Callable[[str], SearchSpace]
GCC = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc")


def random_network(space: SearchSpace, seed: int) -> tuple[Int8Network, np.ndarray]:
    """A random architecture of a space with random weights, and an input."""
    rng = np.random.default_rng(seed)
    arch = space.canonical(rng.integers(0, space.cardinality, (1, len(space.knobs))))[0]
    graph = fold_batchnorm(space.build(arch))
    network = lower(
        quantize_for_timing(graph, whole=True), random_params(graph, np.random.default_rng(seed))
    )
    (shape,) = (network.shapes[name] for name in network.inputs)
    return network, rng.integers(-128, 128, shape, np.int8)


def written(sources: Sources, folder: Path) -> Path:
    for name, data in sources.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def check(space: SearchSpace, seed: int, builds: list[tuple[str, Compiler]], folder: Path) -> None:
    network, example = random_network(space, seed)
    written(generate(network, example), folder)
    expected = network.reference(example)[network.outputs[0]].ravel()
    assert len(np.unique(expected)) > 1
    for core, compiler in builds:
        assert wrong_bytes(folder, core, compiler) == 0


@pytest.mark.parametrize(
    ("name", "core"), [("mobilenet_v3", "cortex_m7"), ("nasbench_macro", "rv32imc")]
)
def test_a_network_makes_the_bytes_of_its_reference(
    small_space: Spaces, name: str, core: str, tmp_path: Path
) -> None:
    check(small_space(name), 0, [(core, "zig")], tmp_path)


@GCC
@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 10))]
)
@pytest.mark.parametrize("name", ["mobilenet_v3", "nasbench_macro"])
def test_random_networks_make_the_bytes_of_their_reference_built_by_both(
    small_space: Spaces, name: str, seed: int, tmp_path: Path
) -> None:
    cores = list(CORES)
    core = cores[seed % len(cores)]
    compilers: list[Compiler] = ["zig", "gcc"] if CORES[core].gcc else ["zig"]
    check(small_space(name), seed + 1, [(core, compiler) for compiler in compilers], tmp_path)


def _command(readme: str, starts: str) -> list[str]:
    (line,) = [line for line in readme.splitlines() if line.startswith(starts)]
    return shlex.split(line)


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiler", ["python -m ziglang", pytest.param("arm-none-eabi-gcc", marks=GCC)]
)
def test_the_commands_of_the_readme_build_it(
    small_space: Spaces, compiler: str, tmp_path: Path
) -> None:
    network, example = random_network(small_space("mobilenet_v3"), 0)
    written(generate(network, example, flash_bytes=1 << 20, sram_bytes=320 << 10), tmp_path)
    command = _command((tmp_path / "README.md").read_text(), compiler)
    if command[0] == "python":
        command[0] = sys.executable
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert (tmp_path / "model.elf").stat().st_size > 1000


def test_only_the_kernels_that_are_called_are_written() -> None:
    space = create(
        "nasbench_macro", resolution=(8,), widths=(8,), layers=(1,), strides=(2,), head=8
    )
    graph = fold_batchnorm(space.build(space.smallest()))
    network = lower(
        quantize_for_timing(graph, whole=True), random_params(graph, np.random.default_rng(0))
    )
    files = generate(network, np.zeros((8, 8, 3), np.int8)).files
    assert {name for name in files if name.count("/") == 1 and name.endswith(".c")} == {
        f"kernels/{call.layer.op}.c" for call in network.calls
    }


def test_a_wrong_byte_is_found(small_space: Spaces, tmp_path: Path) -> None:
    network, example = random_network(small_space("nasbench_macro"), 0)
    sources = generate(network, example)
    written(sources, tmp_path)
    data = (tmp_path / "test_data.h").read_text()
    head, body = data.split("test_output")
    first = body.split("{")[1].split(",")[0].strip()
    changed = body.replace(f"{{\n{first},", f"{{\n{int(first) ^ 1},", 1)
    (tmp_path / "test_data.h").write_text(f"{head}test_output{changed}")
    assert wrong_bytes(tmp_path, "cortex_m4") == 1


def _overlapping(define: Callable[[Builder, Tensor], Tensor]) -> Int8Network:
    b = Builder((), {})
    graph = b.graph(define(b, b.input("image", (9, 7, 5))))
    quantized = quantize_for_timing(graph, whole=True)
    return lower(quantized, random_params(quantized, np.random.default_rng(0)))


@pytest.mark.parametrize("core", ["cortex_m7", "rv32imc"])
def test_outputs_that_run_into_their_inputs_are_right(core: str, tmp_path: Path) -> None:
    def define(b: Builder, x: Tensor) -> Tensor:
        x = b.conv("wide", b.conv("first", x, 3, 3), 13, 5, stride=2)
        x = b.node("most", "max_pool", (x,), kernel=3, stride=1, padding=1)
        x = b.pointwise("expand", x, 17)
        x = b.pointwise("narrow", x, 6)
        return b.node("mean", "avg_pool", (x,), kernel=2, stride=1, padding=1)

    network = _overlapping(define)
    example = np.random.default_rng(0).integers(-128, 128, (9, 7, 5), np.int8)
    sources = generate(network, example)
    places = {b.name: b for b in sources.plan.buffers if not b.scratch}
    over = [
        call.name
        for call in network.calls
        if places[call.makes].offset < places[call.reads[0]].offset
        and places[call.makes].offset + places[call.makes].size > places[call.reads[0]].offset
    ]
    assert len(over) >= 3
    assert wrong_bytes(written(sources, tmp_path), core) == 0
