from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw_profiles.compilers import compiler_of
from hw_profiles.device import DeviceSpec, Peak, list_devices, load_device
from hw_profiles.gpu_launches import Launch
from hw_profiles.profile import measure_networks, profile
from hw_profiles.profilers import compiler_estimate, registry
from hw_profiles.profilers.base import Measured, Progress
from hw_profiles.profilers.compiler_estimate import CompilerEstimate, estimate_us
from hw_profiles.table import open_table
from hw_profiles.validate import validate
from hw_profiles.worklist import worklist
from nas.costs import Costs
from nas.testing.device_suite import SPACE, DeviceSuite
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph

V5E = load_device("v5e")
ORIN = load_device("orin")
ESTIMATED = [device for device in list_devices() if device.runner == "compiler_estimate"]


class Pretended(CompilerEstimate):
    """Cycles from MACs, where a compiler would be."""

    @property
    def runtime(self) -> str:
        return "estimate 1.0"

    def _compile(
        self, graphs: Sequence[Graph], done: Callable[[int, dict[str, Any]], None]
    ) -> None:
        # Not in order, as from several processes.
        for number in reversed(range(len(graphs))):
            done(number, {"cycles": 1000 + count(graphs[number]).macs})


class TestCompilerEstimate(DeviceSuite):
    device = V5E

    def make(self) -> CompilerEstimate:
        return Pretended(V5E)


def installed(device: DeviceSpec) -> bool:
    try:
        compiler_of(str(device.target)).find()
    except InputError:
        return False
    return True


def test_the_devices_that_come_with_hwnas() -> None:
    assert {device.id for device in ESTIMATED} == {"orin", "a100", "h100", "v5e", "v5p", "v6e"}
    for device in ESTIMATED:
        assert registry.source(device) == "estimated"
        assert isinstance(registry.create(device), CompilerEstimate)
        assert ("no hardware validated it" in device.description) == (device.id != "h100")
        assert "compiler's estimate" in device.description
        assert device.peak is not None
        assert device.peak.source
    assert {registry.source(load_device(name)) for name in ("cpu", "jax_cpu")} == {"measured"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"target": "sm_75"}, "target: must be one of sm_80, sm_87, sm_90a, v5e"),
        ({"target": None}, "target: must be one of"),
        ({"peak": None}, "peak: matrix_tflops, vector_tflops, bandwidth_gbs: missing"),
        ({"target": "v5e"}, "peak: clock_ghz: missing for an estimate"),
        (
            {
                "peak": Peak(
                    vector_tflops=1, bandwidth_gbs=1, matrix_tflops={"float32": 1}, source=""
                )
            },
            "peak: matrix_tflops.bfloat16: missing",
        ),
    ],
)
def test_a_device_that_lacks_figures_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=f"device.yaml: {problem}"):
        registry.create(ORIN.model_copy(update=changes))


def test_an_element_type_that_a_runner_lacks_is_refused() -> None:
    device = load_device("cpu").model_copy(update={"dtype": "bfloat16"})
    with pytest.raises(InputError, match=r"dtype: onnxruntime_cpu has .*float32.*, not bfloat16"):
        registry.create(device)


def test_cycles_and_launches_become_time() -> None:
    assert V5E.peak is not None
    assert estimate_us({"cycles": 1503}, V5E) == pytest.approx(1503 / 1.503 / 1e3)
    launch = asdict(Launch("x", "library", 204_800_000, 0, 0))
    assert estimate_us({"launches": [launch, launch]}, ORIN) == pytest.approx(2 * 1003.0)


def test_everything_is_marked_as_an_estimate(tmp_path: Path) -> None:
    profiler = Pretended(V5E)
    table = profile(SPACE, V5E, tmp_path / "table.json", networks=6, profiler=profiler)
    values = [*table.units.values(), *(network.measurement for network in table.networks)]
    assert {value.source for value in values} == {"estimated"}
    assert {value.spread_us for value in values} == {0.0}
    [network] = measure_networks(V5E, [SPACE.build(SPACE.smallest())], profiler=profiler)
    assert network.source == "estimated"
    bound = open_table(V5E, tmp_path / "table.json", profiler).bind(SPACE)
    assert bound.source == "estimated"
    sources = Costs(BlockMap(SPACE), {"v5e": bound}).sources()
    assert sources["latency_ms@v5e"] == "estimated from estimated blocks"
    report = validate(SPACE, V5E, table, 10, profiler=profiler)
    assert report.source == "estimated"
    assert "measured" not in str(report)
    assert "estimated as a whole" in str(report)


def test_an_interruption_keeps_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Progress] = []

    def watch(now: Progress) -> None:
        seen.append(now)
        if now.done == now.total - 1:
            raise KeyboardInterrupt

    units = worklist(BlockMap(SPACE), V5E)
    with pytest.raises(KeyboardInterrupt):
        Pretended(V5E).measure(units, [SPACE.build(SPACE.largest())], watch=watch)
    partial: Measured = seen[-1].partial()
    assert len(units) - 2 <= len(partial.units) < len(units)
    assert len(partial.networks) == 1


def test_other_figures_are_another_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        distribution = "libtpu"

        def find(self) -> tuple[str, Path]:
            return "0.0.42", Path()

    monkeypatch.setattr(compiler_estimate, "compiler_of", lambda _: Found())
    one = CompilerEstimate(V5E).runtime
    assert one.startswith("estimate for v5e by libtpu 0.0.42 (")
    assert V5E.peak is not None
    peak = V5E.peak.model_copy(update={"clock_ghz": 1.0})
    assert CompilerEstimate(V5E.model_copy(update={"peak": peak})).runtime != one
    peak = V5E.peak.model_copy(update={"source": "elsewhere"})
    assert CompilerEstimate(V5E.model_copy(update={"peak": peak})).runtime == one


@pytest.mark.slow
@pytest.mark.parametrize("name", ["orin", "v5e"])
def test_a_real_compiler_tells_large_from_small(name: str) -> None:
    device = load_device(name)
    if not installed(device):
        pytest.skip(f"the compiler for {device.target} is not installed (hwnas[estimate-…])")
    graphs = [SPACE.build(SPACE.smallest()), SPACE.build(SPACE.largest())]
    small, large = registry.create(device).measure((), graphs).networks
    assert 0 < small.value_us < large.value_us
    assert np.isfinite(large.value_us)
    assert {small.source, large.source} == {"estimated"}
