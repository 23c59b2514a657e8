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
from typing import TYPE_CHECKING, Any

import numpy as np

from hw_profiles.device import DeviceSpec
from hw_profiles.job import Job
from hw_profiles.measure import FEWEST_VISITS, InterruptedTimingError, Policy, Session, Task
from hw_profiles.profilers.base import Measured, Progress
from hw_profiles.worklist import Unit
from search_spaces.ir.count import count
from search_spaces.ir.graph import Attr, Graph, TensorType
from search_spaces.ir.ops import make_node

if TYPE_CHECKING:
    from onnx import ModelProto

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
        self.job = Job(units, networks)
        self.graphs = self.job.graphs
        self.tasks: dict[str, Task] = {}
        self.complete = False
        self.started = time.monotonic()

    def run(self, stopped: Callable[[], bool]) -> Measured:
        groups = grouped(self.graphs)
        self.session = Session(load(reference(), self.device, self.rng), self.policy, self.rng)
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
        return self.job.measured(known, self.session.noisy(), self.complete)


def load(graph: Graph, device: DeviceSpec, rng: np.random.Generator) -> Callable[[], object]:
    """A network with random weights in the runtime, ready to be called.

    Args:
        graph: without batch norm.
        device: threads and batch.
        rng: draws weights and input.
    """
    from hw_profiles.elsewhere.measure import load as open_model
    from search_spaces.ir.to_onnx import to_bytes

    return open_model(to_bytes(model(graph, rng)), device.threads, device.batch, rng)


def model(graph: Graph, rng: np.random.Generator) -> "ModelProto":
    """A network as the ONNX model that is timed.

    Args:
        graph: without batch norm.
        rng: draws the weights.
    """
    from search_spaces.ir.to_onnx import to_onnx

    return to_onnx(graph, random_params(graph, rng))


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


def grouped(graphs: Mapping[str, Graph], group_bytes: int = _GROUP_BYTES) -> list[list[str]]:
    """Names of models that are loaded together, shuffled fairly over the groups.

    Args:
        graphs: the models.
        group_bytes: memory that the sessions of a group may take.
    """
    sizes = {name: _SESSION_BYTES + _bytes(graph) for name, graph in graphs.items()}
    n = -(-sum(sizes.values()) // group_bytes)
    ordered = sorted(sizes, key=lambda name: sizes[name])
    return [ordered[i::n] for i in range(n)]


def _bytes(graph: Graph) -> int:
    counts = count(graph)
    return 2 * counts.param_bytes + counts.activation_bytes


def reference() -> Graph:
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
