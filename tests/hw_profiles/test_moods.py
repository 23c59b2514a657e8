"""Sessions differ: what later ones tell of the machine, and how it widens intervals."""

import json
from pathlib import Path

import numpy as np
import pytest

from hw_profiles.moods import anchors, half_width, shift
from hw_profiles.profile import profile
from hw_profiles.table import checksum, load
from hw_profiles.validate import validate
from nas.testing.device_suite import FAKE, SPACE, FakeProfiler
from search_spaces.files import write_json


def test_the_shift_is_that_of_most_networks() -> None:
    then = np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    now = 1.02 * then
    now[3] *= 1.5
    assert shift(then, now) == pytest.approx(0.02)
    assert shift(then[:2], now[:2]) is None


def test_anchors_are_spread_over_the_networks() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, 31.0))
    chosen = sorted(values[anchors(values)])
    assert chosen[0] == 1.0
    assert chosen[-1] == 30.0
    assert np.ptp(np.diff(chosen)) <= 1.0
    assert anchors(values[:2]) == []


@pytest.mark.parametrize("sessions", [2, 4, 10])
def test_nine_of_ten_sessions_lie_inside(sessions: int) -> None:
    draws = np.random.default_rng(0).normal(0.0, 0.02, (4000, sessions + 1))
    inside = [abs(row[-1]) <= half_width(row[:-1].tolist()) for row in draws]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_a_slower_session_is_seen_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table = profile(SPACE, FAKE, path, networks=12, profiler=FakeProfiler())
    narrow = table.bind(SPACE).correction.interval
    report = validate(SPACE, FAKE, table, 10, profiler=FakeProfiler(slower=1.04))
    assert report.shift == pytest.approx(0.04)
    assert report.mape == pytest.approx(1 - 1 / 1.04, abs=1e-3)
    assert report.mape_shifted < 1e-3
    assert report.coverage == 0
    assert "+4.00%" in str(report)
    wider = table.shifted(report.shift).shifted(-0.04)
    assert wider.bind(SPACE).correction.interval == pytest.approx(
        np.hypot(narrow, half_width([0.04, -0.04]))
    )
    again = validate(SPACE, FAKE, wider, 10, profiler=FakeProfiler(slower=1.04))
    assert again.coverage == 1
    wider.save(path)
    assert load(path) == wider


def test_measuring_again_tells_how_the_sessions_differ(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    profile(SPACE, FAKE, path, networks=12, profiler=FakeProfiler())
    slower = FakeProfiler(slower=0.97)
    table = profile(SPACE, FAKE, path, networks=12, profiler=slower, only_missing=False)
    assert table.shifts == pytest.approx((-0.03,))


def test_tables_of_one_session_are_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table = profile(SPACE, FAKE, path, networks=4, profiler=FakeProfiler())
    content = json.loads(path.read_text())
    for key in ("shifts", "checksum"):
        del content[key]
    version = content.pop("version")
    write_json(path, {"version": version, "checksum": checksum(content), **content})
    assert load(path) == table
