"""One session of timing for a runtime that runs here: load all, take turns, put units together.

All models of a group are loaded before the first is timed. Timing runs in a thread of its own, so
that what a runtime sets on its thread (affinity, arithmetic) ends with it, and an interruption
stops it between two runs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import numpy as np

from hw_profiles.energy import Energy, Meter
from hw_profiles.energy import measure as metered
from hw_profiles.job import Job
from hw_profiles.measure import FEWEST_VISITS, InterruptedTimingError, Policy, Session, Task
from hw_profiles.profilers.base import Measured, Progress
from hw_profiles.sentinels import Sentinels, chosen
from hw_profiles.worklist import Unit
from search_spaces.ir.count import count
from search_spaces.ir.graph import Attr, Graph, TensorType
from search_spaces.ir.ops import make_node

# A session holds its weights twice while it packs them, its arena, and about this much more.
_SESSION_BYTES = 1 << 20
# Of a sum of some twenty blocks the errors cancel in part; those of a whole network do not.
_UNIT_SLACK = 2.0

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Loaded:
    """A network ready to be called.

    Args:
        run: returns when the outputs are there.
        inferences: that a call makes, one after the other.
    """

    run: Callable[[], object]
    inferences: int = 1


Load = Callable[[Graph, np.random.Generator], Loaded]


@dataclass(frozen=True)
class Interleaved:
    """How a runtime that runs here is timed.

    Args:
        load: a network without batch norm, with random weights.
        policy: how long and how often to time.
        begin: called once in the thread that loads and times.
        meter: of energy, where there is one.
        dtype: of the device.
        group_bytes: memory that the models of a group may take. All that share a group see the
            machine in the same moments.
    """

    load: Load
    policy: Policy
    begin: Callable[[], object]
    meter: Meter | None
    dtype: str
    group_bytes: int = 3 << 29

    def measure(
        self, units: Sequence[Unit], networks: Sequence[Graph], seed: int, watch: Watch | None
    ) -> Measured:
        """Measure units as chains and networks as they are, in one interleaved session."""
        work = _Work(self, units, networks, seed, watch)
        stop = Event()
        with ThreadPoolExecutor(1, initializer=self.begin) as pool:
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
        timing: Interleaved,
        units: Sequence[Unit],
        networks: Sequence[Graph],
        seed: int,
        watch: Watch | None,
    ) -> None:
        self.timing, self.watch = timing, watch
        self.rng = np.random.default_rng(seed)
        self.job = Job(units, networks, timing.dtype)
        self.graphs = self.job.graphs
        self.tasks: dict[str, Task] = {}
        self.inferences: dict[str, int] = {}
        self.energy: dict[str, Energy] = {}
        self.complete = False
        self.started = time.monotonic()

    def run(self, stopped: Callable[[], bool]) -> Measured:
        in_groups = grouped(self.graphs, self.timing.group_bytes)
        groups = {f"{i + 1}": group for i, group in enumerate(in_groups)}
        stroke = self.timing.load(reference(), self.rng).run
        self.session = Session(stroke, self.timing.policy, self.rng)
        guards = chosen(self.graphs, self.job.names)
        loaded = [self.timing.load(self.graphs[name], self.rng).run for name in guards]
        tasks = [Task(f"sentinel {name}", run) for name, run in zip(guards, loaded, strict=True)]
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
        for model_name in group:
            if stopped():
                raise InterruptedTimingError
            loaded = self.timing.load(self.graphs[model_name], self.rng)
            slack = 1.0 if model_name in self.job.names else _UNIT_SLACK
            tasks.append(Task(model_name, loaded.run, slack))
            self.inferences[model_name] = loaded.inferences
            self._tell(len(tasks), len(group), f"loading models, {label}")
        self.tasks |= {task.name: task for task in tasks}
        self.started = time.monotonic()
        self.session.run(
            tasks,
            lambda done, total: self._tell(done, total, f"timing, {label}"),
            stopped,
            min(
                self.timing.policy.limit_s * len(group) / len(self.graphs), 15.0 + 0.4 * len(group)
            ),
            self.sentinels.tasks,
        )
        self.sentinels.period_ends(name)
        if self.timing.meter is not None:
            self._tell(0, len(group), f"metering energy, {label}")
            runs = {task.name: task.run for task in tasks}
            found = metered(runs, self.timing.meter, self.rng, stopped=stopped)
            self.energy |= {of: one.shared(self.inferences[of]) for of, one in found.items()}
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
            name: self.session.timing(task).shared(self.inferences[name])
            for name, task in self.tasks.items()
            if task.visits >= FEWEST_VISITS
        }
        return replace(
            self.job.measured(known, self.complete, self.energy),
            noisy=self.session.noisy(),
            drift=self.sentinels.drift(),
            meter=self.timing.meter.name if self.timing.meter is not None else None,
        )


def _released() -> Any:
    raise RuntimeError("the session of this task has been closed")


def grouped(graphs: Mapping[str, Graph], group_bytes: int) -> list[list[str]]:
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
