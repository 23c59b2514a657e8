"""Latency on the CPU that hwnas runs on, through ONNX Runtime.

All models of a group are loaded before the first is timed. Timing runs in a thread of its own,
pinned to as many cores as the device has threads: the pinning ends with the thread, and so do the
flush-to-zero flags that the runtime sets on it.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from hw_profiles.device import DeviceSpec
from hw_profiles.energy import Energy, Meter, rapl
from hw_profiles.energy import measure as metered
from hw_profiles.job import Job
from hw_profiles.measure import FEWEST_VISITS, InterruptedTimingError, Policy, Session, Task
from hw_profiles.profilers.base import Measured, Progress
from hw_profiles.sentinels import Sentinels, chosen
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
        meter: of energy; the CPU's own where it can be read.
    """

    device: DeviceSpec
    policy: Policy = field(default_factory=Policy)
    meter: Meter | None = field(default_factory=rapl)

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
        work = _Work(self, units, networks, seed, watch)
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
        profiler: OnnxRuntimeCpu,
        units: Sequence[Unit],
        networks: Sequence[Graph],
        seed: int,
        watch: Watch | None,
    ) -> None:
        self.device, self.policy, self.meter = profiler.device, profiler.policy, profiler.meter
        self.watch = watch
        self.rng = np.random.default_rng(seed)
        self.job = Job(units, networks)
        self.graphs = self.job.graphs
        self.tasks: dict[str, Task] = {}
        self.energy: dict[str, Energy] = {}
        self.complete = False
        self.started = time.monotonic()

    def run(self, stopped: Callable[[], bool]) -> Measured:
        groups = {f"{i + 1}": group for i, group in enumerate(grouped(self.graphs))}
        self.session = Session(self._load(reference()), self.policy, self.rng)
        guards = chosen(self.graphs, self.job.names)
        tasks = [Task(f"sentinel {name}", self._load(self.graphs[name])) for name in guards]
        self.sentinels = Sentinels(self.session, tasks)
        try:
            for name, group in groups.items():
                self._run_group(name, group, f"group {name} of {len(groups)}", stopped)
            for name in self.sentinels.slow_groups():
                if name in groups:
                    label = f"group {name} again, the machine was slower then"
                    self._run_group(name, groups[name], label, stopped)
        except InterruptedTimingError:
            return self.result()
        self.complete = True
        return self.result()

    def _run_group(
        self, name: str, group: list[str], label: str, stopped: Callable[[], bool]
    ) -> None:
        tasks: list[Task] = []
        for done, model_name in enumerate(group):
            if stopped():
                raise InterruptedTimingError
            tasks.append(Task(model_name, self._load(self.graphs[model_name])))
            self._tell(done + 1, len(group), f"loading models, {label}")
        self.tasks |= {task.name: task for task in tasks}
        self.started = time.monotonic()
        self.session.run(
            tasks,
            lambda done, total: self._tell(done, total, f"timing, {label}"),
            stopped,
            min(self.policy.limit_s * len(group) / len(self.graphs), 15.0 + 0.4 * len(group)),
            self.sentinels.tasks,
        )
        self.sentinels.period_ends(name)
        if self.meter is not None:
            self._tell(0, len(group), f"metering energy, {label}")
            runs = {task.name: task.run for task in tasks}
            self.energy |= metered(runs, self.meter, self.rng, stopped=stopped)
        for task in tasks:
            task.run = _released

    def _load(self, graph: Graph) -> Callable[[], object]:
        return load(graph, self.device, self.rng)

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
        return replace(
            self.job.measured(known, self.complete, self.energy),
            noisy=self.session.noisy(),
            drift=self.sentinels.drift(),
            meter=self.meter.name if self.meter is not None else None,
        )


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
