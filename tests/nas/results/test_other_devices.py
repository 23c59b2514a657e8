from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nas.results
from hw_profiles.device import load_device
from hw_profiles.profilers.base import Measurement
from hw_profiles.table import LatencyTable, settings_of
from hw_profiles.worklist import worklist
from nas.results.run import Results
from nas.store import RunStore
from nas.trials import Batch
from search_spaces import registry
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.count import count

_SPACE = {"channels": 1, "classes": 3, "width": [8, 16], "depth": [1, 2], "kernel": [3]}
_CONFIG = """
name: here
space: {type: keyword_spotting, channels: 1, classes: 3, width: [8, 16], depth: [1, 2], kernel: [3]}
data: {type: digits}
supernet: {epochs: 1}
devices: [cpu]
objectives: [{metric: accuracy, goal: max}, {metric: latency_ms, device: cpu, goal: min}]
"""


@pytest.fixture
def run(tmp_path: Path) -> Results:
    """Networks that all take a cpu equally long."""
    space = registry.create("keyword_spotting", **_SPACE)
    archs = np.unique(space.canonical(space.sample(np.random.default_rng(0), 40)), axis=0)
    ones = np.ones(len(archs))
    values = {"accuracy": np.linspace(0.5, 0.9, len(archs)), "latency_ms@cpu": ones}
    folder = tmp_path / "run"
    with RunStore.create(folder, _CONFIG, _CONFIG, {}) as store:
        store.append(Batch("search", archs, values, dict.fromkeys(values, "predicted")))
    return nas.results.open(folder)


@pytest.fixture
def board(run: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device whose blocks take a microsecond a thousand multiply-accumulates."""
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "devices" / "board"
    folder.mkdir(parents=True)
    (folder / "device.yaml").write_text("id: board\nkind: cpu\nrunner: null\n")
    device = load_device("board")
    units = {
        unit.key: Measurement(unit.key, count(unit.graph).macs / 1e3, 0.1, 100)
        for unit in worklist(BlockMap(run.space), device)
    }
    table = LatencyTable(device.id, settings_of(device))
    replace(table, units=units).save(folder / "table.json")
    return folder


@pytest.mark.usefixtures("board")
def test_the_front_on_a_device_that_the_run_does_not_have(run: Results) -> None:
    assert len(run.pareto()) == 1
    front = run.pareto("accuracy", "latency_ms@board", where="latency_ms@board < 0.2")
    assert len(front) > 1
    macs = [count(run.space.build(np.array(arch))).macs for arch in front["arch"]]
    np.testing.assert_allclose(front["latency_ms@board"], np.array(macs) / 1e6, rtol=0.02)
    assert set(front["latency_ms@board.source"]) == {"estimated from blocks"}
    below = run.pareto("accuracy", where="latency_ms@board < 0.1")
    assert 0 < len(below) < len(front)


def test_a_table_with_too_few_blocks_is_refused(run: Results, board: Path) -> None:
    device = load_device("board")
    LatencyTable(device.id, settings_of(device)).save(board / "table.json")
    with pytest.raises(InputError, match=f"missing; run: nas profile {run.folder} --device board"):
        run.pareto("accuracy", "latency_ms@board")


@pytest.mark.usefixtures("board")
def test_no_such_device_is_no_such_column(run: Results) -> None:
    with pytest.raises(InputError, match="no column 'latency_ms@cup'; did you mean"):
        run.pareto("accuracy", "latency_ms@cup")
    with pytest.raises(InputError, match="no column 'latency@board'"):
        run.pareto("accuracy", "latency@board")
