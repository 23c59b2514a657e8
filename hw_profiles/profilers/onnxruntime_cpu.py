"""Latency on the CPU that hwnas runs on, through ONNX Runtime.

All models of a group are loaded before the first is timed. Timing runs in a thread of its own,
pinned to as many cores as the device has threads: the pinning ends with the thread, and so do the
flush-to-zero flags that the runtime sets on it.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np

from hw_profiles.chains import Plan, plan
from hw_profiles.device import DeviceSpec
from hw_profiles.measure import FEWEST_VISITS, InterruptedTimingError, Policy, Session, Task
from hw_profiles.profilers.base import Measured, Measurement, Progress
from hw_profiles.worklist import Unit
from search_spaces.ir.count import count
from search_spaces.ir.graph import Attr, Graph, TensorType
from search_spaces.ir.ops import make_node
from search_spaces.ir.passes import fold_batchnorm

_GROUP_BYTES = 3 << 29
# A session holds its weights twice while it packs them, its arena, and about this much more.
_SESSION_BYTES = 1 << 20

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class OnnxRuntimeCpu:
    """Profiler of devices with `runner: onnxruntime_cpu`.

    Args:
        device: threads, batch and element type.
        policy: how long and how often to time.
    """

    device: DeviceSpec
    policy: Policy = field(default_factory=Policy)

    @property
    def runtime(self) -> str:
        """Name and version of ONNX Runtime."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,
        watch: Watch | None = None,
    ) -> Measured:
        """Measure units as chains and networks as they are, in one interleaved session."""
        work = _Work(self.device, self.policy, units, networks, seed, watch)
        stop = Event()
        with ThreadPoolExecutor(1, initializer=_pin, initargs=(self.device.threads,)) as pool:
            future = pool.submit(work.run, stop.is_set)
            try:
                return future.result()
            except BaseException:
                stop.set()
                raise


class _Work:
    """One session: the models of all units, and the networks, timed in groups that fit memory."""

    def __init__(
        self,
        device: DeviceSpec,
        policy: Policy,
        units: Sequence[Unit],
        networks: Sequence[Graph],
        seed: int,
        watch: Watch | None,
    ) -> None:
        self.device, self.policy, self.watch = device, policy, watch
        self.rng = np.random.default_rng(seed)
        self.units = {unit.key: unit for unit in units}
        self.plan: Plan = plan(units)
        self.networks = networks
        self.graphs: dict[str, Graph] = dict(self.plan.models)
        self.names = [f"network{i}" for i in range(len(networks))]
        for name, network in zip(self.names, networks, strict=True):
            self.graphs[name] = fold_batchnorm(network)
        self.tasks: dict[str, Task] = {}
        self.complete = False
        self.started = time.monotonic()

    def run(self, stopped: Callable[[], bool]) -> Measured:
        groups = _groups(self.graphs)
        self.session = Session(load(_reference(), self.device, self.rng), self.policy, self.rng)
        for number, group in enumerate(groups):
            try:
                self._run_group(group, f"{number + 1} of {len(groups)}", stopped)
            except InterruptedTimingError:
                return self.result()
        self.complete = True
        return self.result()

    def _run_group(self, group: list[str], label: str, stopped: Callable[[], bool]) -> None:
        tasks: list[Task] = []
        for done, name in enumerate(group):
            if stopped():
                raise InterruptedTimingError
            tasks.append(Task(name, load(self.graphs[name], self.device, self.rng)))
            self._tell(done + 1, len(group), f"loading models, group {label}")
        self.tasks |= {task.name: task for task in tasks}
        self.started = time.monotonic()
        self.session.run(
            tasks,
            lambda done, total: self._tell(done, total, f"timing, group {label}"),
            stopped,
            min(self.policy.limit_s * len(group) / len(self.graphs), 15.0 + 0.4 * len(group)),
        )
        for task in tasks:
            task.run = _released

    def _tell(self, done: int, total: int, label: str) -> None:
        eta_s = (time.monotonic() - self.started) * (total - done) / max(done, 1)
        if self.watch is None:
            return
        self.watch(Progress(done, total, eta_s, label, self.result))

    def result(self) -> Measured:
        """What is known so far; models with few visits are left out."""
        known = {
            name: self.session.timing(task)
            for name, task in self.tasks.items()
            if task.visits >= FEWEST_VISITS
        }
        units = {}
        for key, recipe in self.plan.recipes.items():
            if not all(model in known for model in recipe):
                continue
            parts = [(known[model], factor) for model, factor in recipe.items()]
            units[key] = Measurement(
                key,
                sum(part.value_us * factor for part, factor in parts),
                float(np.sqrt(sum((part.spread_us * factor) ** 2 for part, factor in parts))),
                min(part.n for part, _ in parts),
                settled=self.complete or all(part.settled for part, _ in parts),
                description=self.units[key].description,
            )
        if not all(name in known for name in self.names):
            return Measured(units, (), self.session.noisy())
        whole = [
            Measurement(
                graph.digest(), t.value_us, t.spread_us, t.n, settled=self.complete or t.settled
            )
            for graph, t in zip(self.networks, (known[name] for name in self.names), strict=True)
        ]
        return Measured(units, tuple(whole), self.session.noisy())


def load(graph: Graph, device: DeviceSpec, rng: np.random.Generator) -> Callable[[], object]:
    """A network with random weights in the runtime, ready to be called.

    Args:
        graph: without batch norm.
        device: threads and batch.
        rng: draws weights and input.
    """
    import onnxruntime

    from search_spaces.ir.to_onnx import BATCH, to_bytes, to_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = device.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # Without it the threads of idle sessions burn the cores that the timed one needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_free_dimension_override_by_name(BATCH, device.batch)
    session = onnxruntime.InferenceSession(
        to_bytes(to_onnx(graph, random_params(graph, rng))), options, ["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for item in session.get_inputs():
        shape = [size if isinstance(size, int) else device.batch for size in item.shape]
        value = rng.standard_normal(shape).astype(np.float32)
        binding.bind_ortvalue_input(item.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    for item in session.get_outputs():
        binding.bind_output(item.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def random_params(graph: Graph, rng: np.random.Generator) -> dict[str, dict[str, np.ndarray]]:
    """Weights of a size that keeps activations away from overflow and from denormals."""
    return {
        node.name: {
            name: (rng.standard_normal(spec.shape) / np.sqrt(spec.fan_in)).astype(np.float32)
            for name, spec in node.params.items()
        }
        for node in graph.nodes
        if node.params
    }


def _released() -> Any:
    raise RuntimeError("the session of this task has been closed")


def _groups(graphs: Mapping[str, Graph]) -> list[list[str]]:
    """Names of models that are loaded together, shuffled fairly over the groups."""
    sizes = {name: _SESSION_BYTES + _bytes(graph) for name, graph in graphs.items()}
    n = -(-sum(sizes.values()) // _GROUP_BYTES)
    ordered = sorted(sizes, key=lambda name: sizes[name])
    return [ordered[i::n] for i in range(n)]


def _bytes(graph: Graph) -> int:
    counts = count(graph)
    return 2 * counts.param_bytes + counts.activation_bytes


def _reference() -> Graph:
    """Some tens of microseconds of convolution in the first-level cache."""
    x = TensorType((14, 14, 32))
    attrs: dict[str, Attr] = {"features": 32, "kernel": 3, "stride": 1, "padding": 1, "bias": True}
    return Graph({"x": x}, (make_node("conv", "conv", {"x": x}, attrs),), ("conv",))


def _pin(threads: int) -> None:
    """Bind this thread, and the runtime's that it starts, to the last cores that it may use."""
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > threads:
        os.sched_setaffinity(0, allowed[-threads:])
