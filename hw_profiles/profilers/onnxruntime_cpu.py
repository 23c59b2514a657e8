"""Latency on the CPU that hwnas runs on, through ONNX Runtime.

Timing runs in a thread of its own, pinned to as many cores as the device has threads: the pinning
ends with the thread, and so do the flush-to-zero flags that the runtime sets on it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hw_profiles.device import DeviceSpec
from hw_profiles.energy import Meter, rapl
from hw_profiles.machine import available_bytes
from hw_profiles.measure import Policy
from hw_profiles.profilers.base import Measured
from hw_profiles.profilers.interleaved import Interleaved, Loaded, Watch
from hw_profiles.weights import random_params
from hw_profiles.worklist import Unit
from search_spaces.ir.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class OnnxRuntimeCpu:
    """Profiler of devices with `runner: onnxruntime_cpu`.

    Args:
        device: threads, batch and element type; with int8 whatever is measured is quantised first.
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
        timing = Interleaved(
            lambda graph, rng: load(graph, self.device, rng),
            self.policy,
            partial(_pin, self.device.threads),
            self.meter,
            self.device.dtype,
            max(Interleaved.group_bytes, available_bytes() // 3),
        )
        return timing.measure(units, networks, seed, watch)


def load(graph: Graph, device: DeviceSpec, rng: np.random.Generator) -> Loaded:
    """A network with random weights in the runtime, ready to be called.

    Args:
        graph: without batch norm, float32 or quantised.
        device: threads and batch.
        rng: draws weights and input.
    """
    from hw_profiles.elsewhere.measure import load as open_model
    from search_spaces.ir.to_onnx import to_bytes

    return Loaded(open_model(to_bytes(model(graph, rng)), device.threads, device.batch, rng))


def model(graph: Graph, rng: np.random.Generator) -> "ModelProto":
    """A network as the ONNX model that is timed.

    Args:
        graph: without batch norm.
        rng: draws the weights.
    """
    from search_spaces.ir.to_onnx import to_onnx

    return to_onnx(graph, random_params(graph, rng))


def _pin(threads: int) -> None:
    """Bind this thread, and the runtime's that it starts, to the last cores that it may use."""
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > threads:
        os.sched_setaffinity(0, allowed[-threads:])
