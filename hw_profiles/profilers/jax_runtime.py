"""Latency on whatever JAX has here: GPU, TPU or CPU, in float32 or bfloat16.

On a CPU a network is one jitted function, called as a program would call it, with what JAX itself
takes to pass the parameters on. On an accelerator that would be most of a small network's time (on
an H100 135 us became 323 us) and no property of the device: there a call makes many inferences,
each of which waits for the one before, and a value is what one adds to such a queue.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hw_profiles.device import DeviceSpec, cache_folder
from hw_profiles.energy import Meter, nvml, rapl
from hw_profiles.measure import Policy
from hw_profiles.profilers.base import Measured
from hw_profiles.profilers.interleaved import Interleaved, Loaded, Watch
from hw_profiles.weights import random_params
from hw_profiles.worklist import Unit
from search_spaces.errors import InputError
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph

# Inferences of a call on an accelerator; fewer of networks that take long.
_INFERENCES, _MOST_MACS = 100, 1e11

_PACKAGE = {"gpu": "jax[cuda13]", "tpu": "jax[tpu]"}


@dataclass(frozen=True)
class JaxRuntime:
    """Profiler of devices with `runner: jax_runtime`.

    Args:
        device: its kind is the platform that JAX is asked for; batch and element type. `threads`
            are the cores of a CPU.
        policy: how long and how often to time.
    """

    device: DeviceSpec
    policy: Policy = field(default_factory=Policy)

    @property
    def runtime(self) -> str:
        """JAX's version and its name for the device.

        Raises:
            InputError: JAX has no such device.
        """
        import jax

        kind = find(self.device).device_kind
        queue = "" if self.device.kind == "cpu" else f", in queues of {_INFERENCES}"
        return f"jax {jax.__version__} on {kind}{queue}"

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,
        watch: Watch | None = None,
    ) -> Measured:
        """Measure units as chains and networks as they are, in one interleaved session.

        Raises:
            InputError: JAX has no such device.
        """
        import jax

        find(self.device)
        if jax.config.values["jax_compilation_cache_dir"] is None:
            jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
        timing = Interleaved(
            lambda graph, rng: load(graph, self.device, rng),
            self.policy,
            lambda: None,
            self._meter(),
            self.device.dtype,
        )
        with _cores(self.device):
            return timing.measure(units, networks, seed, watch)

    def _meter(self) -> Meter | None:
        return {"cpu": rapl, "gpu": nvml}.get(self.device.kind, lambda: None)()


def find(device: DeviceSpec) -> Any:
    """The first device of its kind that JAX has.

    Raises:
        InputError: it has none, with what to install.
    """
    import jax

    try:
        return jax.devices(device.kind)[0]
    except RuntimeError:
        present = ", ".join(sorted({one.platform for one in jax.devices()}))
        package = _PACKAGE.get(device.kind, "jax")
        raise InputError(
            f"device {device.id!r}: JAX finds no {device.kind} here, only: {present}; it needs "
            f"one, pip install '{package}', and JAX_PLATFORMS unset"
        ) from None


def load(graph: Graph, device: DeviceSpec, rng: np.random.Generator) -> Loaded:
    """A network with random weights, compiled, ready to be called.

    Args:
        graph: without batch norm.
        device: its kind, batch and element type.
        rng: draws weights and input.
    """
    import jax
    import jax.numpy as jnp

    from hw_profiles.program import forward, queued

    place = find(device)
    dtype = jnp.dtype(device.dtype)

    def put(values: np.ndarray) -> jax.Array:
        return jax.device_put(values.astype(dtype), place)

    params = jax.tree.map(put, random_params(graph, rng))
    inputs = {
        name: put(rng.standard_normal((device.batch, *kind.shape)))
        for name, kind in graph.inputs.items()
    }
    inferences = 1
    if device.kind != "cpu":
        macs = max(1, count(graph).macs * device.batch)
        inferences = int(np.clip(_MOST_MACS // macs, 1, _INFERENCES))
    network = forward(graph) if device.kind == "cpu" else queued(forward(graph), inferences)
    # The kernels take the default device's implementations.
    with jax.default_device(place):
        run = jax.jit(network)
        jax.block_until_ready(run(params, inputs))

    def call() -> object:
        return jax.block_until_ready(run(params, inputs))

    return Loaded(call, inferences)


@contextmanager
def _cores(device: DeviceSpec) -> Iterator[None]:
    """Keep a CPU's work on as many cores as the device has threads, for the time being.

    XLA's threads were started with the process, as many as it has cores, so all are bound.
    """
    tasks = Path("/proc/self/task")
    if device.kind != "cpu" or not tasks.is_dir():
        yield
        return
    allowed = sorted(os.sched_getaffinity(0))
    before: dict[int, set[int]] = {}
    try:
        for thread in [int(task.name) for task in tasks.iterdir()]:
            # Any may have ended since.
            with suppress(ProcessLookupError):
                before[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, allowed[-device.threads :])
        yield
    finally:
        for thread, cores in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)
