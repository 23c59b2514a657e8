"""Estimates for a GPU or TPU that is not at hand, from what its compiler says of the code it makes.

No hardware takes part: every value is marked as `estimated`, and what it is worth is unknown until
someone compares it with a device.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hw_profiles.chains import Plan, alone
from hw_profiles.chains import plan as chains
from hw_profiles.compilers import compile_all, compiler_of
from hw_profiles.device import DeviceSpec, Peak
from hw_profiles.gpu_launches import Launch, launch_us
from hw_profiles.profilers.base import Measured, Measurement, Progress
from hw_profiles.worklist import Unit
from kernels.targets import GPUS, TPUS
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph

_NEEDED = {
    "gpu": ("matrix_tflops", "vector_tflops", "bandwidth_gbs"),
    "tpu": ("clock_ghz",),
}


@dataclass(frozen=True)
class CompilerEstimate:
    """Profiler of devices with `runner: compiler_estimate`.

    Args:
        device: target, published figures, batch and element type.

    Raises:
        InputError: the device does not say for which target, or lacks a figure.
    """

    device: DeviceSpec

    def __post_init__(self) -> None:
        """Check that the device says what is needed."""
        where = f"{self.device.folder / 'device.yaml'}: "
        if self.device.target not in (*GPUS, *TPUS):
            known = ", ".join((*GPUS, *TPUS))
            raise InputError(f"{where}target: must be one of {known}, got {self.device.target!r}")
        needed = _NEEDED["tpu" if self.device.target in TPUS else "gpu"]
        lacking = [name for name in needed if not getattr(self._peak, name)]
        if not lacking and "matrix_tflops" in needed:
            rated = self.device.dtype in self._peak.matrix_tflops
            lacking = [] if rated else [f"matrix_tflops.{self.device.dtype}"]
        if lacking:
            raise InputError(f"{where}peak: {', '.join(lacking)}: missing for an estimate")

    @property
    def _peak(self) -> Peak:
        return self.device.peak or Peak(source="")

    @property
    def runtime(self) -> str:
        """Target and compiler; a digest of the figures that its words are turned into time with.

        Raises:
            InputError: the compiler is not installed.
        """
        compiler = compiler_of(self._target)
        try:
            release, _ = compiler.find()
        except InputError as error:
            raise InputError(f"device {self.device.id!r}: {error}") from None
        figures = self._peak.model_dump_json(exclude={"source"})
        digest = hashlib.sha256(figures.encode()).hexdigest()[:8]
        return f"estimate for {self._target} by {compiler.distribution} {release} ({digest})"

    @property
    def _target(self) -> str:
        return str(self.device.target)

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,  # noqa: ARG002
        watch: Callable[[Progress], None] | None = None,
    ) -> Measured:
        """Compile what gives the blocks' shares, and all networks; nothing is random or runs."""
        plan = models(units, self._target)
        graphs = {**plan.models, **{graph.digest(): graph for graph in networks}}
        digests, found = list(graphs), dict[str, float]()
        started = time.monotonic()

        def result() -> Measured:
            return _measured(units, plan, networks, found)

        def done(number: int, said: dict[str, Any]) -> None:
            found[digests[number]] = estimate_us(said, self.device)
            if watch is not None:
                spent_s = time.monotonic() - started
                eta_s = spent_s / len(found) * (len(graphs) - len(found))
                label = f"compiling for {self._target}"
                watch(Progress(len(found), len(graphs), eta_s, label, result))

        self._compile(list(graphs.values()), done)
        return result()

    def _compile(
        self, graphs: Sequence[Graph], done: Callable[[int, dict[str, Any]], None]
    ) -> None:
        compile_all(self._target, graphs, self.device.batch, self.device.dtype, done)


def models(units: Sequence[Unit], target: str) -> Plan:
    """What to compile for the costs of blocks.

    A GPU launches kernel after kernel, so blocks alone add up but for what is fused across their
    borders: to 5 % less than whole networks, 0.6 % of error after the correction
    (`experiments.benchmarks.estimated_devices`). A TPU's compiler lays maps out for the network
    around a block: alone, blocks came to 19 % more than the whole, in chains to 7 %, and after the
    correction errors of 1.5 and 0.6 % were left.

    Args:
        units: the blocks.
        target: a key of `kernels.targets.TPUS` or `GPUS`.
    """
    return chains(units) if target in TPUS else alone(units)


def estimate_us(said: Mapping[str, Any], device: DeviceSpec) -> float:
    """Microseconds, from what a compiler said.

    Args:
        said: as `compile_worker.compiled` gives it.
        device: of the target that it was compiled for.
    """
    peak = device.peak or Peak(source="")
    if "cycles" in said:
        return said["cycles"] / (peak.clock_ghz * 1e3)
    gpu = GPUS[str(device.target)]
    return sum(launch_us(Launch(**one), gpu, peak, device.dtype) for one in said["launches"])


def _measured(
    units: Sequence[Unit], plan: Plan, networks: Sequence[Graph], found: Mapping[str, float]
) -> Measured:
    def measurement(key: str, value_us: float, description: str = "") -> Measurement:
        return Measurement(key, value_us, 0.0, 1, "estimated", description=description)

    blocks = {
        unit.key: measurement(unit.key, plan.cost(unit.key, found), unit.description)
        for unit in units
        if plan.recipes[unit.key].keys() <= found.keys()
    }
    digests = [graph.digest() for graph in networks]
    if not found.keys() >= set(digests):
        return Measured(blocks)
    return Measured(blocks, tuple(measurement(key, found[key]) for key in digests))
