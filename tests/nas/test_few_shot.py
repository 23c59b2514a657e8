from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hw_profiles.device import DeviceSpec, load_device, new_device
from hw_profiles.elsewhere.worklist import export_worklist
from hw_profiles.latencies import import_latencies, read_latencies
from hw_profiles.profile import profile
from hw_profiles.profilers.base import Measured, Measurement, Progress
from hw_profiles.provenance import capture
from hw_profiles.table import LatencyTable, load, open_table, settings_of
from hw_profiles.worklist import Unit
from nas import few_shot
from nas.costs import Costs
from nas.few_shot import measure_few, prepare, wanted
from nas.testing.device_suite import FAKE, SPACE, FakeProfiler
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph
from search_spaces.space import Archs

NEW = DeviceSpec(id="new", kind="cpu", runner="fake")


@dataclass
class Other:
    """A device on which MACs and parameters cost something, each with its own weight.

    Args:
        mac_us: a million multiply-accumulates.
        parameter_us: a thousand parameters.
        networks: how many it was asked for.
    """

    mac_us: float = 30.0
    parameter_us: float = 5.0
    runtime: str = "fake 1.0"
    networks: list[int] = field(default_factory=list)

    def measure(
        self,
        units: Sequence[Unit],
        networks: Sequence[Graph] = (),
        *,
        seed: int = 0,  # noqa: ARG002
        watch: Callable[[Progress], None] | None = None,  # noqa: ARG002
    ) -> Measured:
        assert not units
        self.networks.append(len(networks))
        found = [Measurement(g.digest(), self.latency_us(g), 0.0, 1) for g in networks]
        return Measured({}, tuple(found))

    def latency_us(self, graph: Graph) -> float:
        counted = count(graph)
        return 40 + self.mac_us * counted.macs / 1e6 + self.parameter_us * counted.params / 1e3


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    monkeypatch.setattr(few_shot, "_SAMPLE", 600)
    return tmp_path


def source(name: str = "known") -> DeviceSpec:
    """A device whose table of the space is complete: MACs alone decide."""
    device = new_device(name)
    table = profile(SPACE, FAKE, device.folder / "fake.json", profiler=FakeProfiler())
    table = replace(table, device=name, settings=settings_of(device))
    table.save(device.folder / "table.json")
    return device


def few(cache: Path, profiler: Other, n: int, sources: Sequence[str]) -> LatencyTable:
    path = cache / "new.json"
    return measure_few(SPACE, NEW, sources, n, path, profiler=profiler)


def others(n: int = 40) -> Archs:
    return SPACE.sample(np.random.default_rng(9), n)


def test_a_few_networks_make_a_table(cache: Path) -> None:
    device, profiler = source(), Other()
    table = few(cache, profiler, 10, [device.id])
    assert profiler.networks == [10]
    assert load(cache / "new.json") == table
    bound = table.bind(SPACE)
    assert bound.source == "transferred"
    assert not bound.missing
    archs = others()
    truth_ms = np.array([profiler.latency_us(SPACE.build(a)) for a in archs]) / 1e3
    estimate = bound.cost(archs)
    assert np.abs(estimate.mean_ms / truth_ms - 1).mean() < 0.03
    assert np.mean((estimate.lower_ms <= truth_ms) & (truth_ms <= estimate.upper_ms)) > 0.8
    learned = table.transferred(SPACE)
    assert learned is not None
    assert learned.sources[0].startswith("known: table ")
    assert learned.doubts == ()
    assert learned.networks == 10


def test_costs_say_that_they_are_transferred(cache: Path) -> None:
    table = few(cache, Other(), 8, [source().id])
    blocks = BlockMap(SPACE)
    costs = Costs(blocks, {"new": table.bind(SPACE, blocks)})
    assert costs.sources()["latency_ms@new"] == "transferred"
    least, most = costs.reachable("latency_ms@new")
    archs = others()
    assert np.all(costs.evaluate(archs)["latency_ms@new"] >= least.value - 1e-9)
    assert np.all(costs.evaluate(archs)["latency_ms@new"] <= most.value + 1e-9)


def test_measured_networks_are_not_measured_again(cache: Path) -> None:
    device, profiler = source(), Other()
    few(cache, profiler, 8, [device.id])
    table = few(cache, profiler, 12, [device.id])
    assert sum(profiler.networks) == 12
    assert len(table.networks_of(SPACE)) == 12


def test_architectures_alone_suffice(cache: Path) -> None:
    profiler = Other()
    table = few(cache, profiler, 10, [])
    archs = others()
    truth_ms = np.array([profiler.latency_us(SPACE.build(a)) for a in archs]) / 1e3
    assert np.abs(table.bind(SPACE).cost(archs).mean_ms / truth_ms - 1).mean() < 0.05


def test_measured_blocks_count_for_more_than_a_transfer(cache: Path) -> None:
    table = few(cache, Other(), 8, [source().id])
    full = profile(SPACE, FAKE, cache / "full.json", profiler=FakeProfiler())
    assert replace(table, units=full.units).bind(SPACE).source == "measured"


def test_nonsense_is_doubted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    profiler = Other()
    monkeypatch.setattr(profiler, "latency_us", lambda _: float(rng.uniform(100, 2000)))
    table = few(cache, profiler, 12, [source().id])
    learned = table.transferred(SPACE)
    assert learned is not None
    assert any("another order" in doubt for doubt in learned.doubts)


def test_published_networks_are_a_source(cache: Path) -> None:
    profiler, archs = Other(), np.unique(others(400), axis=0)
    rows = [
        {k.name: k.options[i] for k, i in zip(SPACE.knobs, arch, strict=True)}
        | {"latency_ms": profiler.latency_us(SPACE.build(arch)) / 1e3}
        for arch in archs
    ]
    file = cache / "published.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    found = read_latencies("paper", SPACE.name, file, "latency_ms", source="a paper")
    import_latencies(found)
    ready = prepare(SPACE, [load_device("paper")], np.zeros((0, len(SPACE.knobs)), int))
    assert ready.sources[0].endswith("published networks (a paper)")
    truth_ms = np.array([profiler.latency_us(SPACE.build(a)) for a in ready.pool[:50]]) / 1e3
    assert np.abs(ready.transfer.sources_ms[:50, 0] / truth_ms - 1).mean() < 0.05


def test_what_can_not_be_a_source_is_said(cache: Path) -> None:
    new_device("empty")
    with pytest.raises(InputError, match=r"'empty' is not measured here and has no table"):
        few(cache, Other(), 8, ["empty"])
    with pytest.raises(InputError, match=r"--from: 'new' is the new device itself"):
        few(cache, Other(), 8, ["new"])


def test_a_device_elsewhere_measures_the_networks_alone(cache: Path) -> None:
    device, new, profiler = source(), new_device("board"), Other()
    with pytest.raises(InputError, match=r"8 of 8 networks are missing; add --export-worklist"):
        measure_few(SPACE, new, [device.id], 8)
    archs = wanted(SPACE, new, [device.id], 8)
    done = export_worklist(SPACE, new, cache / "board.zip", archs=archs, blocks=False)
    assert (done.units, done.networks) == (0, 8)
    measured = profiler.measure((), [SPACE.build(arch) for arch in archs])
    empty = LatencyTable(new.id, settings_of(new))
    empty.extended(measured, capture("fake", 1), SPACE, archs).save(new.folder / "table.json")
    table = measure_few(SPACE, new, [device.id], 8)
    assert open_table(new).bind(SPACE).source == "transferred"
    assert len(table.networks) == 8
    assert not len(wanted(SPACE, new, [device.id], 8))
