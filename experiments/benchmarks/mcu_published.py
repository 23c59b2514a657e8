"""Whole networks that others published by name, rebuilt from their layers: what `--published` adds.

Reads `DIR/mcunet_tinyengine/stm32h743_libraries.csv` (`net`, `library`, `latency_ms`, `sram_kb`;
the file's name begins with the board) and `DIR/mlperf_tiny/results.csv` (`round`, `org`, `system`,
`benchmark`, `latency_ms`). `boards.csv` beside this file tells which device and clock stand for a
board; systems without one, and networks without layers, take no part.
"""

import re
from collections.abc import Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path

from experiments.benchmarks.layer_tables import arena_bytes, layers_of
from experiments.benchmarks.published_networks import NETWORKS
from hw_profiles.device import load_device
from hw_profiles.mcu.layers import Layer
from hw_profiles.mcu.simulate import Simulator

_BOARDS = Path(__file__).parent / "boards.csv"


@dataclass(frozen=True)
class Published:
    """One published latency, and what we say of it.

    Args:
        board: as the table names it.
        family: of the network: left out together.
        network: the key of its layers.
        published_ms: by the vendor.
        simulated_ms: of our kernels.
        macs: millions.
        library: one factor is fitted for each of a board.
        ram_kib: published; NaN where it is not.
        arena_kib: of our planner.
    """

    board: str
    family: str
    network: str
    published_ms: float
    simulated_ms: float
    macs: float
    library: str = ""
    ram_kib: float = float("nan")
    arena_kib: float = float("nan")


def read(folder: Path) -> list[Published]:
    """All published latencies of networks and boards that we know, in the order of the tables."""
    with _BOARDS.open() as file:
        boards = {row["board"]: row for row in DictReader(file)}
    simulated = _Simulated(boards)
    found = []
    for table in sorted((folder / "mcunet_tinyengine").glob("*_libraries.csv")):
        board = _board_in(table.name, boards)
        for row in _rows(table):
            if board and row["net"] in NETWORKS and row["latency_ms"]:
                ram_kib = float(row["sram_kb"]) * 1000 / 1024
                task = f"{board} {row['library']}"
                found.append(simulated.of(task, board, row["net"], row["latency_ms"], "", ram_kib))
    table = folder / "mlperf_tiny" / "results.csv"
    for row in _rows(table) if table.is_file() else ():
        board = _board_in(row["system"], boards)
        if board and row["benchmark"] in NETWORKS and row["latency_ms"]:
            library = " ".join((row["round"], row["org"], row["system"]))
            task = f"mlperf_tiny {board}"
            found.append(simulated.of(task, board, row["benchmark"], row["latency_ms"], library))
    return found


class _Simulated:
    """Networks on boards, each simulated once."""

    def __init__(self, boards: Mapping[str, Mapping[str, str]]) -> None:
        self._boards = boards
        self._simulators: dict[str, Simulator] = {}
        self._times: dict[tuple[str, str], float] = {}
        self._tables: dict[str, tuple[list[Layer], float]] = {}

    def of(
        self,
        task: str,
        board: str,
        network: str,
        published_ms: str,
        library: str,
        ram_kib: float = float("nan"),
    ) -> Published:
        """A row of a table."""
        if network not in self._tables:
            rows = NETWORKS[network]()
            self._tables[network] = layers_of(rows), arena_bytes(rows, simd=True) / 1024
        layers, arena_kib = self._tables[network]
        if (board, network) not in self._times:
            self._times[board, network] = self._simulator(board).time_us(layers) / 1e3
        return Published(
            task,
            re.sub(r"\d+$", "", network),
            network,
            float(published_ms),
            self._times[board, network],
            sum(layer.macs for layer in layers) / 1e6,
            library,
            ram_kib,
            arena_kib,
        )

    def _simulator(self, board: str) -> Simulator:
        if board not in self._simulators:
            mcu = load_device(self._boards[board]["device"]).mcu
            if mcu is None:
                raise ValueError(f"{_BOARDS}: {board}: its device is no microcontroller")
            clock = {"clock_mhz": float(self._boards[board]["clock_mhz"])}
            self._simulators[board] = Simulator(mcu.model_copy(update=clock))
        return self._simulators[board]


def _board_in(name: str, boards: Mapping[str, Mapping[str, str]]) -> str | None:
    return next((board for board in boards if board in name.lower()), None)


def _rows(path: Path) -> Sequence[dict[str, str]]:
    with path.open() as file:
        return list(DictReader(file))
