"""Time of int8 layers on a microcontroller: their machine code is run, its cycles are modelled."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hw_profiles.device import DeviceSpec, Mcu
from hw_profiles.mcu.core import Core, find_core
from hw_profiles.mcu.issue import VERSION
from hw_profiles.mcu.kernel_runner import KernelRunner, runner
from hw_profiles.mcu.layers import TWO_INPUTS, Layer
from hw_profiles.mcu.shorten import shortened
from hw_profiles.mcu.timing import Cycles, Timer
from hw_profiles.mcu.toolchain import FLAGS, Compiler, describe, kernels_digest
from hw_profiles.mcu.waiting import waiting_cycles
from search_spaces.errors import InputError


@dataclass(frozen=True, slots=True)
class LayerTime:
    """Simulated cost of one layer.

    Args:
        core_cycles: of the issue model.
        waiting_cycles: for memory.
        instructions: issued.
    """

    core_cycles: float
    waiting_cycles: float
    instructions: int

    @property
    def cycles(self) -> float:
        """All of them."""
        return self.core_cycles + self.waiting_cycles


@dataclass(frozen=True, eq=False)
class Simulator:
    """Times layers on one microcontroller; equal geometry is run once.

    Args:
        mcu: the microcontroller.
        simd: whether SIMD kernels are taken; where the core can, if not given.
        compiler: that builds the kernels.
        shorten: whether tall layers are timed by shorter ones (`shorten.py`).

    Raises:
        InputError: no such core, or the extra `mcu` is not installed.
    """

    mcu: Mcu
    simd: bool | None = None
    compiler: Compiler = "zig"
    shorten: bool = True
    _known: dict[Hashable, LayerTime] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check the core before anything is built."""
        _ = self.core

    @property
    def core(self) -> Core:
        """Its core."""
        return find_core(self.mcu.core)

    @property
    def runtime(self) -> str:
        """Model, kernels, compiler, flags and clock: what the figures depend on."""
        kernels = "SIMD" if self._simd else "portable"
        compiler = describe(self.core, self.compiler)
        # The file of a table is named after this: flags, waits and kernels stand in a digest only.
        mcu = self.mcu.model_dump_json(exclude={"source"})
        details = f"{compiler} {mcu} {kernels_digest()}"
        digest = hashlib.sha256(details.encode()).hexdigest()[:8]
        return (
            f"simulator {VERSION} {self.mcu.core} {self.mcu.clock_mhz:g} MHz {kernels} "
            f"{' '.join(compiler.split()[:2])} {FLAGS[0]} ({digest})"
        )

    @property
    def _simd(self) -> bool:
        return self.core.simd if self.simd is None else self.simd

    @property
    def _runner(self) -> KernelRunner:
        return runner(self.core, self._simd, self.compiler)

    def time(self, layer: Layer) -> LayerTime:
        """Run a layer on random activations, or remember one of its geometry."""
        key = geometry(layer)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._run(layer)
        return found

    def time_us(self, layers: Sequence[Layer]) -> float:
        """Microseconds of layers, one after another: kernels do not overlap, so they add up."""
        return sum(self.time(layer).cycles for layer in layers) / self.mcu.clock_mhz

    def _run(self, layer: Layer) -> LayerTime:
        waits = waiting_cycles(layer, self.mcu, simd=self._simd)
        found = shortened(layer) if self.shorten else None
        if found is None:
            made = self._emulated(layer)
            return LayerTime(made.cycles, waits, made.instructions)
        *both, factor = found
        short, long = map(self._emulated, both)
        cycles = long.cycles + factor * (long.cycles - short.cycles)
        instructions = long.instructions + factor * (long.instructions - short.instructions)
        return LayerTime(cycles, waits, round(instructions))

    def _emulated(self, layer: Layer) -> Cycles:
        rng = np.random.default_rng(0)

        def drawn(shape: Sequence[int]) -> np.ndarray:
            return rng.integers(-128, 128, tuple(shape), np.int8)

        inputs = [drawn(layer.in_shape)]
        if layer.op in TWO_INPUTS:
            inputs.append(drawn(layer.in_shape[-1:]))
        return _timer(self._runner).cycles(self._runner.run(layer, *inputs).blocks)


def of_device(device: DeviceSpec) -> Simulator:
    """The simulator of a device.

    Raises:
        InputError: its `device.yaml` tells nothing of a microcontroller, or of one with a core that
            is not known.
    """
    if device.mcu is None:
        raise InputError(f"{device.folder / 'device.yaml'}: mcu: missing; it needs core and clock")
    return Simulator(device.mcu)


def geometry(layer: Layer) -> Hashable:
    """What a kernel's time depends on: shapes, not values."""
    weight: Any = getattr(layer, "weight", None)
    shape = None if weight is None else weight.shape
    return layer.op, layer.in_shape, layer.out_shape, getattr(layer, "window", None), shape


_TIMERS: dict[int, Timer] = {}


def _timer(made: KernelRunner) -> Timer:
    """One for each program, so that its blocks are decoded once."""
    return _TIMERS.setdefault(id(made), Timer(made.emulator))
