"""Latency on a microcontroller that need not be at hand: its machine code runs in an emulator.

Kernels do not overlap, and nothing is fused across them but what is fused in the graph already, so
a block costs the sum of its kernels and a network the sum of its blocks. Blocks are lowered to int8
layers with random weights; each geometry is run once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hw_profiles.device import DeviceSpec
from hw_profiles.mcu.layers import Layer
from hw_profiles.mcu.memory import unweighted
from hw_profiles.mcu.simulate import Simulator, of_device
from hw_profiles.profilers.base import Measured, Measurement, Progress, in_turn
from hw_profiles.worklist import Unit
from search_spaces.ir.graph import Graph


@dataclass(frozen=True)
class McuSimulator:
    """Profiler of devices with `runner: mcu_simulator`.

    Args:
        device: core, clock, caches.

    Raises:
        InputError: the device says too little, or its core is not known.
    """

    device: DeviceSpec

    def __post_init__(self) -> None:
        """Check that the device says what is needed."""
        _ = self.simulator

    @cached_property
    def simulator(self) -> Simulator:
        """Of the device."""
        return of_device(self.device)

    @property
    def runtime(self) -> str:
        """Core, clock, model and compiler.

        Raises:
            InputError: the extra `mcu` is not installed.
        """
        return self.simulator.runtime

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,  # noqa: ARG002
        watch: Callable[[Progress], None] | None = None,
    ) -> Measured:
        """Simulate all kernels of the blocks and networks; no time depends on the weights."""
        label = f"simulating {self.simulator.mcu.core}"
        found = in_turn(self._measurement, units, networks, label, watch)
        return replace(found, meter=self._meter)

    @property
    def _meter(self) -> str | None:
        known = self.simulator.mcu.ma_per_mhz is not None
        return "the datasheet's run current times the simulated time" if known else None

    def _measurement(self, key: str, graph: Graph, description: str) -> Measurement:
        value_us = self.simulator.time_us(layers(graph))
        mcu, energy_mj = self.simulator.mcu, None
        if mcu.ma_per_mhz is not None:
            energy_mj = mcu.ma_per_mhz * mcu.clock_mhz * mcu.supply_v * value_us / 1e6
        return Measurement(
            key,
            value_us,
            0.0,
            1,
            "simulated",
            description=description,
            energy_mj=energy_mj,
            energy_spread_mj=None if energy_mj is None else 0.0,
        )


def layers(graph: Graph) -> list[Layer]:
    """The int8 layers of a block or a network, with random weights.

    Args:
        graph: float32; batch norm may still be in it.
    """
    return [call.layer for call in unweighted(graph).calls]
