import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw_profiles import profile as profile_module
from hw_profiles.profile import profile, spread_archs
from hw_profiles.profilers.base import Measured
from hw_profiles.table import LatencyTable, checksum, load, open_table
from hw_profiles.validate import validate
from hw_profiles.worklist import Unit
from nas.testing.device_suite import FAKE, NETWORKS, SPACE, DeviceSuite, FakeProfiler
from search_spaces.errors import InputError
from search_spaces.files import write_json
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.graph import Graph


class TestFake(DeviceSuite):
    device = FAKE

    def make(self) -> FakeProfiler:
        return FakeProfiler()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices" / "table.json"


def filled(path: Path, **changes: object) -> LatencyTable:
    profiler = FakeProfiler(**changes)  # pyright: ignore[reportArgumentType]
    return profile(SPACE, FAKE, path, networks=12, profiler=profiler)


def test_the_correction_recovers_what_the_sum_misses(path: Path) -> None:
    correction = filled(path).bind(SPACE).correction
    assert correction.n == 12
    assert correction.error < 1e-3
    report = validate(SPACE, FAKE, filled(path), 20, profiler=FakeProfiler())
    assert report.mape < 1e-3
    assert report.spearman == pytest.approx(1.0)
    assert report.noise_floor == 0
    assert "20 networks not used in the fit" in str(report)


def test_validation_uses_no_network_of_the_fit(path: Path) -> None:
    table = filled(path)
    report = validate(SPACE, FAKE, table, 40, profiler=FakeProfiler())
    used = {network.arch for network in table.networks}
    assert not used & {tuple(arch) for arch in report.archs.tolist()}
    assert len(np.unique(report.archs, axis=0)) == 40


def test_validation_needs_the_whole_table(path: Path) -> None:
    table = filled(path)
    table = replace(table, units=dict(list(table.units.items())[3:]))
    with pytest.raises(InputError, match=r"3 of .* blocks .* nas profile mobilenet_v3"):
        validate(SPACE, FAKE, table, profiler=FakeProfiler())


def test_an_interruption_keeps_what_was_measured(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        filled(path, stop_after=5)
    assert len(load(path).units) == 5
    rest = FakeProfiler()
    table = profile(SPACE, FAKE, path, networks=NETWORKS, profiler=rest)
    assert len(rest.asked) == len(table.units) - 5
    assert len(table.sessions) == 2


def test_results_are_saved_while_it_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_module, "_SAVE_EVERY_S", 0.0)
    seen: list[int] = []

    def progress(done: int, total: int, eta_s: float, label: str) -> None:
        seen.append(len(load(path).units) if path.exists() else 0)

    profile(SPACE, FAKE, path, networks=0, progress=progress, profiler=FakeProfiler())
    assert seen == list(range(len(seen)))


def test_another_runtime_measures_again_and_keeps_the_old_file(path: Path) -> None:
    old = filled(path)
    newer = FakeProfiler(runtime="fake 2.0")
    opened = open_table(FAKE, path, newer)
    assert not opened.units
    assert not opened.networks
    (warning,) = opened.warnings
    assert "fake 1.0" in warning
    assert "fake 2.0" in warning
    table = profile(SPACE, FAKE, path, networks=NETWORKS, profiler=newer)
    assert len(newer.asked) == len(old.units)
    assert open_table(FAKE, path, newer).units == table.units
    assert load(path.with_suffix(".other1.json")) == old


def test_other_settings_are_not_mixed(path: Path) -> None:
    filled(path)
    opened = open_table(FAKE.model_copy(update={"batch": 8}), path, FakeProfiler())
    assert not opened.units
    assert "batch=1" in opened.warnings[0]
    assert "batch=8" in opened.warnings[0]


def test_everything_is_measured_again_on_request(path: Path) -> None:
    old = filled(path)
    again = FakeProfiler()
    table = profile(SPACE, FAKE, path, networks=12, profiler=again, only_missing=False)
    assert set(again.asked) == set(old.units)
    assert len(table.networks) == 12
    assert {unit.session for unit in table.units.values()} == {1}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text.replace("0.01", "0.02", 1), "checksum"),
        (lambda text: text[:-40], "no latency table"),
        (lambda _: "[]", "no latency table"),
        (lambda text: text.replace('"version": 1', '"version": 9', 1), "version 9"),
        (lambda _: "", "no latency table"),
    ],
)
def test_damage_is_found(path: Path, damage: object, reason: str) -> None:
    filled(path)
    text = path.read_text()
    damaged = damage(text)  # pyright: ignore[reportCallIssue]
    assert damaged != text
    path.write_text(damaged)
    with pytest.raises(InputError, match=reason):
        load(path)


def test_a_table_of_wrong_types_is_corrupt(path: Path) -> None:
    content = filled(path)._content()
    content["units"]["x"] = {"key": 3}
    write_json(path, {"version": 1, "checksum": checksum(content), **content})
    with pytest.raises(InputError, match=r"units\.x"):
        load(path)


def test_a_table_of_another_device_is_refused(path: Path) -> None:
    filled(path)
    with pytest.raises(InputError, match="table of device 'fake', not of 'other'"):
        open_table(FAKE.model_copy(update={"id": "other"}), path, FakeProfiler())


def test_without_networks_the_interval_is_unknown(path: Path) -> None:
    table = profile(SPACE, FAKE, path, networks=0, profiler=FakeProfiler())
    estimate = table.bind(SPACE).cost(SPACE.largest()[None])
    assert np.isfinite(estimate.mean_ms).all()
    assert np.isnan(estimate.lower_ms).all()


def test_the_file_is_readable_by_people(path: Path) -> None:
    filled(path)
    data = json.loads(path.read_text())
    assert data["device"] == "fake"
    assert data["sessions"][0]["runtime"] == "fake 1.0"
    assert any("stem: 16x16x1 -> 16x16x8" in u["description"] for u in data["units"].values())


def test_spread_archs_cover_the_space() -> None:
    blocks = BlockMap(SPACE)
    none = np.zeros((0, len(SPACE.knobs)), int)
    archs = spread_archs(blocks, 20, 0, none)
    assert len(np.unique(archs, axis=0)) == 20
    np.testing.assert_array_equal(archs, SPACE.canonical(archs))
    rows = archs.tolist()
    assert SPACE.largest().tolist() in rows
    assert SPACE.smallest().tolist() in rows
    assert 5 <= (archs[:, 0] == 0).sum() <= 15
    macs = blocks.total(blocks.macs, archs)
    plain = blocks.total(blocks.macs, SPACE.sample(np.random.default_rng(0), 20))
    assert np.log(macs).std() > np.log(plain).std()
    more = spread_archs(blocks, 5, 0, archs)
    assert not {tuple(a) for a in more.tolist()} & {tuple(a) for a in rows}


class Placed(FakeProfiler):
    """The first load of each network is 2 % faster than the second."""

    def measure(
        self, units: Sequence[Unit], networks: Sequence[Graph] = (), **rest: Any
    ) -> Measured:
        found = super().measure(units, networks, **rest)
        factors = np.repeat([0.99, 1.01], 20).tolist() + [1.0] * len(networks)
        placed = [
            replace(one, value_us=one.value_us * factor)
            for one, factor in zip(found.networks, factors, strict=False)
        ]
        return replace(found, networks=tuple(placed))


def test_a_network_counts_as_the_mean_of_its_loads(path: Path) -> None:
    report = validate(SPACE, FAKE, filled(path), 20, profiler=Placed())
    assert report.mape < 1e-3
    assert report.noise_floor == pytest.approx(1.01 / 0.99 - 1)
