"""Whole networks that others published by name, rebuilt from their layers: what `--published` adds.

Reads `DIR/mcunet_tinyengine/stm32h743_libraries.csv` (`net`, `library`, `latency_ms`, `sram_kb`;
the file's name begins with the board) and `DIR/mlperf_tiny/results.csv` (`round`, `org`, `system`,
`benchmark`, `latency_ms`). `boards.csv` beside this file tells which device and clock stand for a
board; systems without one, and networks without layers, take no part.
"""

import re
from collections.abc import Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass, replace
from itertools import permutations
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
        clock_mhz: of the board; NaN where nothing is told from one board to another.
        system: what was handed in, without the board's name.
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
    clock_mhz: float = float("nan")
    system: tuple[str, ...] = ()


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
            one = simulated.of(task, board, row["benchmark"], row["latency_ms"], library)
            clock_mhz = float(boards[board]["clock_mhz"])
            words = re.split(r"[ _-]", row["system"].lower())
            # Boards' names come with a letter for their packages.
            rest = [word for word in words if board not in word and len(word) > 1]
            system = (row["round"], row["org"], *rest)
            found.append(replace(one, clock_mhz=clock_mhz, system=system))
    return found


def between_boards(found: Sequence[Published]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """What one board's published times tell of another's, where both run the same library.

    Libraries cancel in it: `ours` is the time of the first board times what the simulations of the
    two say; `clock` takes all boards to need the same cycles.

    Returns:
        by `second from first` and method, predicted and published milliseconds.
    """
    told = [one for one in found if one.system]
    out: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for one, other in permutations(told, 2):
        same = (one.system, one.network) == (other.system, other.network)
        if not same or one.board == other.board:
            continue
        methods = out.setdefault(f"{other.board} from {one.board}", {"ours": [], "clock": []})
        ours_ms = one.published_ms * other.simulated_ms / one.simulated_ms
        clock_ms = one.published_ms * one.clock_mhz / other.clock_mhz
        methods["ours"].append((ours_ms, other.published_ms))
        methods["clock"].append((clock_ms, other.published_ms))
    return out


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
