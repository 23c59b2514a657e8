"""Estimates for Arm's Ethos-U, an NPU beside a Cortex-M, from Arm's own compiler Vela.

Networks are lowered to int8 with random weights and written as TensorFlow Lite files. Vela
compiles them and says how long it expects them to take, in a summary. Arm calls these figures
estimates, not to be relied on for the performance of a chip; no hardware takes part. The memory it
plans is what the compiled network takes.

Weights are stored compressed, so flash, and time where flash is what takes it, depend on them a
little: trained ones may differ.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from csv import DictReader
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from hw_profiles.chains import plan as chains
from hw_profiles.device import DeviceSpec, Npu
from hw_profiles.mcu.memory import unweighted
from hw_profiles.mcu.tflite import to_tflite
from hw_profiles.mcu.toolchain import require
from hw_profiles.profilers.base import Measured, Measurement, Progress, in_turn
from hw_profiles.worklist import Unit
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph

_CONFIGURATIONS = "Arm/vela.ini"
_LIMIT_S = 300


@dataclass(frozen=True)
class Summary:
    """What Vela says of a network.

    Args:
        time_us: of one inference.
        sram_kib: for activations, and for weights on their way where those are staged there.
        flash_kib: size of the compiled file: weights, and the commands that the NPU reads.
    """

    time_us: float
    sram_kib: float
    flash_kib: float


@dataclass(frozen=True)
class Vela:
    """Profiler of devices with `runner: vela`.

    Args:
        device: of kind npu, with what Vela has to know of it.

    Raises:
        InputError: the device does not say what is needed.
    """

    device: DeviceSpec

    def __post_init__(self) -> None:
        """Check that the device says what is needed."""
        if self.device.npu is None:
            raise InputError(f"{self.device.folder / 'device.yaml'}: npu: missing for an estimate")

    @property
    def _npu(self) -> Npu:
        assert self.device.npu is not None
        return self.device.npu

    @property
    def runtime(self) -> str:
        """Accelerator, configuration and compiler.

        Raises:
            InputError: the extra `ethos` is not installed.
        """
        require("ethosu.vela", "ethos")
        npu = self._npu
        return (
            f"estimate for {npu.accelerator} by ethos-u-vela {version('ethos-u-vela')} "
            f"({npu.system}, {npu.memory}, in chains)"
        )

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,  # noqa: ARG002
        watch: Callable[[Progress], None] | None = None,
    ) -> Measured:
        """Compile chains, from which the blocks' shares follow, and every network.

        Between layers maps lie in another order than at a network's ends, with channels padded to
        16, so blocks that are compiled alone take too little SRAM.
        """
        plan, found = chains(units), dict[str, Summary]()

        def said(graph: Graph) -> Summary:
            key = graph.digest()
            if key not in found:
                found[key] = self.compiled(graph)
            return found[key]

        def cost(key: str, graph: Graph, description: str) -> Measurement:
            recipe = plan.recipes.get(key, {key: 1.0})
            parts = [(said(plan.models.get(one, graph)), factor) for one, factor in recipe.items()]
            return Measurement(
                key,
                sum(part.time_us * factor for part, factor in parts),
                0.0,
                1,
                "estimated",
                description=description,
                sram_kib=max(part.sram_kib for part, _ in parts),
                flash_kib=sum(part.flash_kib * factor for part, factor in parts),
            )

        label = f"compiling for {self._npu.accelerator}"
        return in_turn(cost, units, networks, label, watch)

    def compiled(self, graph: Graph) -> Summary:
        """Time and memory of a block or a network.

        Args:
            graph: float32; batch norm may still be in it.

        Raises:
            InputError: a layer would run on the Cortex-M, of which Vela tells no time, or the
                compiler fails.
        """
        return summary(to_tflite(unweighted(graph)), self._npu)


def summary(model: bytes, npu: Npu) -> Summary:
    """What Vela says of a TensorFlow Lite file. Arguments and errors are those of `compiled`."""
    require("ethosu.vela", "ethos")
    with tempfile.TemporaryDirectory() as name:
        path, made = Path(name) / "network.tflite", Path(name) / "made"
        path.write_bytes(model)
        said = _run(path, made, npu)
        tables = list(made.glob("*_summary_*.csv"))
        if not tables:
            last = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise InputError(f"vela for {npu.accelerator} failed: {last[0]}")
        if not re.search(r"CPU operators = 0 ", said):
            operators = sorted(set(re.findall(r"operator: (\w+)", said))) or ["layers"]
            raise InputError(
                f"vela leaves {', '.join(operators)} of a network to the CPU beside "
                f"{npu.accelerator} and tells no time for it: take a space without what needs it "
                "(h-sigmoid, sigmoid and GELU do)"
            )
        with tables[0].open() as file:
            [row] = DictReader(file)
        [compiled] = made.glob("*.tflite")
        flash_kib = compiled.stat().st_size / 1024
    return Summary(float(row["inference_time"]) * 1e6, float(row["sram_memory_used"]), flash_kib)


def _run(path: Path, made: Path, npu: Npu) -> str:
    """All that Vela prints; its files are in `made`, where it had no error."""
    options = {
        "--config": _CONFIGURATIONS,
        "--accelerator-config": npu.accelerator,
        "--system-config": npu.system,
        "--memory-mode": npu.memory,
        "--output-dir": str(made),
    }
    words = (word for option in options.items() for word in option)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "ethosu.vela", str(path), *words],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"vela for {npu.accelerator} took more than {_LIMIT_S} s") from None
    return ran.stdout + ran.stderr
