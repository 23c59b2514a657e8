"""Rules that every profiler obeys, as tests that a new one inherits in one line.

Example:
    class TestMyRunner(DeviceSuite):
        device = DeviceSpec(id="mine", kind="cpu", runner="my_runner")

        def make(self):
            return MyRunner(self.device)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hw_profiles.device import DeviceSpec
from hw_profiles.profile import profile
from hw_profiles.profilers.base import Measured, Measurement, Profiler, Progress
from hw_profiles.table import LatencyTable, open_table
from hw_profiles.worklist import Unit, worklist
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph
from search_spaces.mobilenet_v3 import MobileNetV3

SPACE = MobileNetV3(
    resolution=(8, 16),
    channels=1,
    classes=3,
    stem=8,
    stem_stride=1,
    widths=(8, 16),
    strides=(1, 2),
    hswish=(False, True),
    squeeze_excite=(False, True),
    depth=(1, 2),
    kernel=(3, 5),
    expand=(2, 6),
    head=(16, 24),
)
NETWORKS = 6


FAKE = DeviceSpec(id="fake", kind="cpu", runner="fake")


@dataclass
class FakeProfiler:
    """Costs that follow from MACs alone, so that what reads tables is tested without a clock.

    A network costs 1.25 times the sum of its blocks, plus 7 us.

    Args:
        runtime: name and version that it claims.
        stop_after: it is interrupted, as by Ctrl-C, after so many units.
        asked: keys of the units that it was asked for.
        slower: factor of all costs, for another session of the same machine.
    """

    runtime: str = "fake 1.0"
    stop_after: int | None = None
    asked: list[str] = field(default_factory=list)
    slower: float = 1.0

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,  # noqa: ARG002
        watch: Callable[[Progress], None] | None = None,
    ) -> Measured:
        """One unit after the other."""
        done: dict[str, Measurement] = {}
        for i, unit in enumerate(units):
            if i == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(unit.key)
            value_us = self._cost_us(unit.graph)
            done[unit.key] = Measurement(unit.key, value_us, 0.0, 1, description=unit.description)
            if watch is not None:
                watch(Progress(i + 1, len(units), 0.0, "fake", lambda: Measured(dict(done))))
        whole = [
            Measurement(graph.digest(), 1.25 * self._cost_us(graph) + 7.0 * self.slower, 0.0, 1)
            for graph in networks
        ]
        return Measured(done, tuple(whole))

    def _cost_us(self, graph: Graph) -> float:
        return self.slower * (count(graph).macs * 50e-6 + 0.01)


@dataclass
class Counting:
    """Passes everything on and counts what was asked for."""

    profiler: Profiler
    units: int = 0
    networks: int = 0

    @property
    def runtime(self) -> str:
        """Of the profiler behind it."""
        return self.profiler.runtime

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,
        watch: Callable[[Progress], None] | None = None,
    ) -> Measured:
        """Count and pass on."""
        self.units += len(units)
        self.networks += len(networks)
        return self.profiler.measure(units, networks, seed=seed, watch=watch)


@dataclass(frozen=True)
class Profiled:
    """A device's table of `SPACE`, and where it lies."""

    device: DeviceSpec
    path: Path
    table: LatencyTable


class DeviceSuite:
    """Tests of a profiler; a subclass gives `device` and `make`."""

    device: DeviceSpec

    def make(self) -> Profiler:
        """The profiler under test."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def profiled(cls, tmp_path_factory: pytest.TempPathFactory) -> Profiled:
        """The table after one session."""
        path = tmp_path_factory.mktemp("device") / "table.json"
        table = profile(SPACE, cls.device, path, networks=NETWORKS, profiler=cls().make())
        return Profiled(cls.device, path, table)

    def test_every_unit_of_the_space_is_measured(self, profiled: Profiled) -> None:
        """The table's keys are the worklist's."""
        units = worklist(BlockMap(SPACE), self.device)
        assert set(profiled.table.units) == {unit.key for unit in units}
        assert profiled.table.bind(SPACE).missing == ()

    def test_values_are_times_with_a_spread(self, profiled: Profiled) -> None:
        """Positive as far as the spread tells, finite, of at least one run, with provenance."""
        table = profiled.table
        for unit in table.units.values():
            # Of short blocks, which are differences of chains, noise may leave nothing.
            assert -3 * unit.spread_us < unit.value_us < 1e6
            assert 0 <= unit.spread_us < np.inf
            assert unit.n >= 1
            assert unit.description
            assert 0 <= unit.session < len(table.sessions)

    def test_the_largest_network_takes_longer_than_the_smallest(self) -> None:
        """Measured end to end."""
        graphs = [SPACE.build(SPACE.smallest()), SPACE.build(SPACE.largest())]
        small, large = self.make().measure((), graphs).networks
        assert small.value_us < large.value_us
        assert [small.key, large.key] == [graph.digest() for graph in graphs]

    def test_estimates_follow_measurements(self, profiled: Profiled) -> None:
        """Every interval is in order, and large networks are estimated to be slower."""
        estimate = profiled.table.bind(SPACE).cost(np.stack([SPACE.smallest(), SPACE.largest()]))
        assert estimate.mean_ms[0] < estimate.mean_ms[1]
        assert np.all(estimate.lower_ms <= estimate.mean_ms)
        assert np.all(estimate.mean_ms <= estimate.upper_ms)
        assert np.all(estimate.measured == 1)

    def test_a_second_call_measures_nothing(self, profiled: Profiled) -> None:
        """Nothing is missing, so the file stays as it is."""
        before = profiled.path.read_bytes()
        counting = Counting(self.make())
        table = profile(SPACE, self.device, profiled.path, networks=NETWORKS, profiler=counting)
        assert (counting.units, counting.networks) == (0, 0)
        assert profiled.path.read_bytes() == before
        assert table == profiled.table

    def test_only_what_is_missing_is_measured(self, profiled: Profiled, tmp_path: Path) -> None:
        """A table that lacks two units asks for these two."""
        lost = set(list(profiled.table.units)[:2])
        left = {key: unit for key, unit in profiled.table.units.items() if key not in lost}
        path = tmp_path / "table.json"
        table = profiled.table
        LatencyTable(table.device, table.settings, table.sessions, left, table.networks).save(path)
        counting = Counting(self.make())
        after = profile(SPACE, self.device, path, networks=NETWORKS, profiler=counting)
        assert (counting.units, counting.networks) == (2, 0)
        assert set(after.units) == set(table.units)
        assert {after.units[key] == table.units[key] for key in left} == {True}

    def test_a_corrupt_table_is_one_clear_error(self, profiled: Profiled, tmp_path: Path) -> None:
        """One line names the file and the fix, and the file stays."""
        path = tmp_path / "table.json"
        content = profiled.path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match="corrupt latency table") as caught:
            profile(SPACE, self.device, path, profiler=self.make())
        (line,) = caught.value.problems
        assert str(path) in line
        assert "nas profile" in line
        assert path.read_bytes() == content[: len(content) // 2]

    def test_cost_of_a_population_equals_a_loop(self, profiled: Profiled) -> None:
        """The look-up gives what summing the blocks one by one gives."""
        bound, blocks = profiled.table.bind(SPACE), BlockMap(SPACE)
        archs = SPACE.sample(np.random.default_rng(0), 50)
        wanted = [
            bound.correction.constant_us + sum(bound.added_us[u] for u in row if u >= 0)
            for row in blocks.index(archs)
        ]
        estimate = bound.cost(archs)
        np.testing.assert_allclose(estimate.mean_ms * 1e3, np.array(wanted), rtol=1e-12)

    def test_missing_units_are_named_and_never_free(self, profiled: Profiled) -> None:
        """Without a unit, exactly the architectures that use it have no estimate."""
        table, blocks = profiled.table, BlockMap(SPACE)
        archs = SPACE.sample(np.random.default_rng(1), 50)
        index = blocks.index(archs)
        number = int(index[0].max())
        bound = table.bind(SPACE)
        left = {key: unit for key, unit in table.units.items() if key != bound.keys[number]}
        lacking = LatencyTable(table.device, table.settings, table.sessions, left, table.networks)
        estimate = lacking.bind(SPACE, blocks).cost(archs)
        uses = np.any(index == number, axis=1)
        assert estimate.missing == (bound.keys[number],)
        np.testing.assert_array_equal(np.isnan(estimate.mean_ms), uses)
        np.testing.assert_array_equal(estimate.measured < 1, uses)

    def test_the_saved_table_is_the_same(self, profiled: Profiled) -> None:
        """Opening it on this machine gives all of it back."""
        assert open_table(self.device, profiled.path, self.make()) == profiled.table
