"""What a profiler takes and gives."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from hw_profiles.worklist import Unit
from search_spaces.ir.graph import Graph

Source = Literal["measured", "simulated", "estimated", "transferred"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A cost of one unit or network, and how far to trust it.

    Args:
        key: the unit's key, or the network's digest.
        value_us: microseconds. A unit's is its share of a network's time, which may be slightly
            below zero for a block that does nearly nothing.
        spread_us: standard error of the value.
        n: runs behind it.
        source: how it was got.
        settled: false where measuring was interrupted; such a value is used, and measured again.
        description: what it is, for people.
        session: index of its session in the table.
        energy_mj: millijoules of one inference, everything on the chip counted; None where there
            was no meter.
        energy_spread_mj: its standard error.
        sram_kib: RAM that it needs, by the plan of its compiler; None where no runner tells.
        flash_kib: what it needs of memory that keeps its content; None likewise.
    """

    key: str
    value_us: float
    spread_us: float
    n: int
    source: Source = "measured"
    settled: bool = True
    description: str = ""
    session: int = 0
    energy_mj: float | None = None
    energy_spread_mj: float | None = None
    sram_kib: float | None = None
    flash_kib: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Result of a session.

    Args:
        units: by key.
        networks: in the order in which they were given; empty where none is ready.
        noisy: whether other work disturbed the session.
        drift: slowest part of the session over its fastest, minus 1; None where that is unknown.
        meter: what counted energy; None where nothing did.
    """

    units: Mapping[str, Measurement] = field(default_factory=dict)
    networks: tuple[Measurement, ...] = ()
    noisy: bool = False
    drift: float | None = None
    meter: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A session under way.

    Args:
        done: visits made.
        total: visits expected; grows when more turn out to be needed.
        eta_s: seconds that are likely left.
        label: what is being done.
        partial: the results so far; valid also after an interruption.
    """

    done: int
    total: int
    eta_s: float
    label: str
    partial: Callable[[], Measured]


class Profiler(Protocol):
    """Measures units and whole networks on one device."""

    @property
    def runtime(self) -> str:
        """Name and version of what runs the networks."""
        ...

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,
        watch: Callable[[Progress], None] | None = None,
    ) -> Measured:
        """Measure all of them in one session, interleaved, by one statistic.

        Args:
            units: blocks.
            networks: graphs, batch norm still in them.
            seed: of orders and weights.
            watch: told how it goes, at least once before a long session ends.
        """
        ...


def in_turn(
    cost: Callable[[str, Graph, str], Measurement],
    units: Sequence[Unit],
    networks: Sequence[Graph],
    label: str,
    watch: Callable[[Progress], None] | None,
) -> Measured:
    """Costs that nothing disturbs, one after the other.

    Args:
        cost: of a graph, by its key and description.
        units: first.
        networks: then.
        label: what is done, for people.
        watch: told after each unit.
    """
    blocks: dict[str, Measurement] = {}
    started = time.monotonic()
    for done, unit in enumerate(units, 1):
        blocks[unit.key] = cost(unit.key, unit.graph, unit.description)
        if watch is not None:
            eta_s = (time.monotonic() - started) / done * (len(units) - done)
            watch(Progress(done, len(units), eta_s, label, lambda: Measured(blocks)))
    return Measured(blocks, tuple(cost(graph.digest(), graph, "") for graph in networks))
