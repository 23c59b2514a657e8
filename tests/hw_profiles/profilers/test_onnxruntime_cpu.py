import os
import time
from itertools import chain

import numpy as np
import pytest

from hw_profiles.device import load_device
from hw_profiles.job import Job
from hw_profiles.measure import Policy
from hw_profiles.profile import measure_networks
from hw_profiles.profilers.base import Progress
from hw_profiles.profilers.interleaved import grouped
from hw_profiles.profilers.onnxruntime_cpu import OnnxRuntimeCpu, load
from hw_profiles.worklist import worklist
from nas.testing.device_suite import SPACE, DeviceSuite
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.graph import DType
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.quantize import is_quantized, quantize_for_timing

CPU, INT8 = load_device("cpu"), load_device("cpu_int8")
QUICK = Policy(visits=4, limit_visits=8, tolerance=0.05, least_s=0.3, limit_s=4.0)


class TestOnnxRuntimeCpu(DeviceSuite):
    device = CPU

    def make(self) -> OnnxRuntimeCpu:
        return OnnxRuntimeCpu(CPU, QUICK)


class TestOnnxRuntimeCpuIn8Bits(DeviceSuite):
    device = INT8

    def make(self) -> OnnxRuntimeCpu:
        return OnnxRuntimeCpu(INT8, QUICK)


def test_on_a_device_in_8_bits_chains_and_networks_are_quantised() -> None:
    units = worklist(BlockMap(SPACE), INT8)
    rng = np.random.default_rng(0)
    for device, wanted in ((CPU, False), (INT8, True)):
        job = Job(units, [SPACE.build(SPACE.largest())], device.dtype)
        assert {is_quantized(graph) for graph in job.graphs.values()} == {wanted}
        assert set(job.plan.models) < set(job.graphs)
    for graph in job.graphs.values():
        # What a chain hands to its end, and a network to its classifier, is in 8 bits.
        borders = [node for node in graph.nodes if node.op in ("identity", "global_pool")]
        assert borders
        assert {node.out.dtype for node in borders if node.name != "post_x0"} == {DType.UINT8}
    load(job.graphs["network0"], INT8, rng).run()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_threads_and_batches_are_those_of_the_device(dtype: str) -> None:
    device = CPU.model_copy(update={"dtype": dtype, "threads": 2, "batch": 16})
    graph = SPACE.build(SPACE.largest())
    many = OnnxRuntimeCpu(device, QUICK).measure((), [graph]).networks[0]
    single = device.model_copy(update={"batch": 1})
    one = OnnxRuntimeCpu(single, QUICK).measure((), [graph]).networks[0]
    assert many.value_us > 2 * one.value_us


def test_a_network_in_8_bits_and_its_twin_are_timed_in_one_session() -> None:
    graph = SPACE.build(SPACE.largest())
    twin = quantize_for_timing(fold_batchnorm(graph))
    found = measure_networks(CPU, [twin, graph], profiler=OnnxRuntimeCpu(CPU, QUICK))
    assert [item.key for item in found] == [twin.digest(), graph.digest()]
    assert found[0].value_us != found[1].value_us


def test_the_callers_affinity_and_arithmetic_stay() -> None:
    before = os.sched_getaffinity(0)
    OnnxRuntimeCpu(CPU, QUICK).measure((), [SPACE.build(SPACE.smallest())])
    assert os.sched_getaffinity(0) == before
    denormal = np.float32(1e-39)
    assert denormal * np.float32(0.5) > 0


def test_an_interruption_stops_it_and_partial_results_stand() -> None:
    seen: list[Progress] = []

    def watch(now: Progress) -> None:
        seen.append(now)
        if now.label.startswith("timing") and now.done:
            raise KeyboardInterrupt

    units = worklist(BlockMap(SPACE), CPU)[:3]
    policy = Policy(visits=50, limit_visits=100, limit_s=60.0)
    with pytest.raises(KeyboardInterrupt):
        OnnxRuntimeCpu(CPU, policy).measure(units, watch=watch)
    assert seen[0].label.startswith("loading models")
    partial = seen[-1].partial()
    assert not any(unit.settled for unit in partial.units.values())


def test_whole_networks_are_measured_in_order() -> None:
    graphs = [SPACE.build(SPACE.largest()), SPACE.build(SPACE.smallest())]
    labels: list[str] = []
    results = measure_networks(
        CPU,
        graphs,
        progress=lambda *now: labels.append(now[3]),
        profiler=OnnxRuntimeCpu(CPU, QUICK),
    )
    assert [result.key for result in results] == [graph.digest() for graph in graphs]
    assert results[0].value_us > results[1].value_us > 0
    assert labels


def test_a_larger_batch_takes_longer() -> None:
    graph = SPACE.build(SPACE.largest())
    one, many = (
        OnnxRuntimeCpu(CPU.model_copy(update={"batch": batch}), QUICK).measure((), [graph])
        for batch in (1, 16)
    )
    assert many.networks[0].value_us > 4 * one.networks[0].value_us


def test_groups_fit_memory_and_hold_every_model() -> None:
    graphs = {f"n{i}": SPACE.build(SPACE.largest()) for i in range(10)}
    assert len(grouped(graphs, 1 << 30)) == 1
    groups = grouped(graphs, 5 << 20)
    assert len(groups) > 1
    assert sorted(chain.from_iterable(groups)) == sorted(graphs)


class Steady:
    """A meter of a chip that draws ten watts, whatever it does."""

    name, window_s, rounds = "fake", 0.002, 3

    def joules(self) -> float:
        return 10.0 * time.perf_counter()


def test_energy_is_metered_where_there_is_a_meter() -> None:
    units = worklist(BlockMap(SPACE), CPU)[:4]
    graphs = [SPACE.build(arch) for arch in SPACE.sample(np.random.default_rng(0), 6)]
    found = OnnxRuntimeCpu(CPU, QUICK, Steady()).measure(units, graphs)
    assert found.meter == "fake"
    for item in found.networks:
        assert item.energy_mj is not None
        assert item.energy_spread_mj is not None
        # Ten watts are ten millijoules a millisecond; busy moments only add to that.
        assert item.energy_mj > 0.7 * 10 * item.value_us / 1e3
    assert all(unit.energy_mj is not None for unit in found.units.values())
    assert found.drift is not None
    assert found.drift >= 0
