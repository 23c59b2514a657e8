"""The benchmark on tables with the layout of the published ones."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.benchmarks import latency_transfer
from experiments.benchmarks.latency_data import read

N = 240
# Edges of a cell, target and source, and what an operation costs; 0 passes nothing on.
EDGES = ("10", "20", "21", "30", "31", "32")
COSTS = np.array([0.0, 0.1, 1.0, 3.0])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    ops = rng.integers(0, 4, (N, len(EDGES))).astype(np.int8)
    folder = tmp_path / "cells"
    folder.mkdir()
    archs = pd.DataFrame({f"op_e{edge}": ops[:, i] for i, edge in enumerate(EDGES)})
    macs = 1.0 + COSTS[ops].sum(1)
    archs.assign(arch_idx=np.arange(N) + 800, macs_m=macs).to_parquet(folder / "archs.parquet")
    names = ("gpu_1", "gpu_8", "phone", "board")
    factors = np.array([[1, 1, 2, 3], [1, 2, 2, 3], [1, 1, 1, 4], [1, 2, 1, 2]])
    latency = {
        name: 2 + (COSTS * factor)[ops].sum(1) + 0.05 * rng.standard_normal(N)
        for name, factor in zip(names, factors, strict=True)
    }
    latency["phone"] = np.round(latency["phone"])
    table = pd.DataFrame({"arch_idx": np.arange(N) + 800, **latency})
    table.loc[5, "board"] = np.nan
    table.to_parquet(folder / "latency_ms.parquet")
    splits = {"hw_embedding_ref_idx": [801, 830], "help_num_meta_train_sample": 850}
    (folder / "splits.json").write_text(json.dumps(splits))
    return tmp_path


def test_the_layout_is_found(data: Path) -> None:
    found = read(data / "cells")
    assert list(found.latency_ms) == ["gpu_1", "gpu_8", "phone", "board"]
    assert [found.family(name) for name in found.latency_ms] == ["gpu", "gpu", "phone", "board"]
    np.testing.assert_array_equal(found.query, np.arange(100, N))
    np.testing.assert_array_equal(found.reference, [1, 30])
    drawn, executed = found.readings
    assert np.all(executed.tallies[:, 1:] <= drawn.tallies[:, 1:])
    # An edge that nothing leaves from, or that nothing comes to, is not executed.
    np.testing.assert_array_equal(
        executed.tallies[:, 1:].sum(1) == 0,
        [_dead(row) for row in _ops(data)],
    )


def _ops(data: Path) -> np.ndarray:
    archs = pd.read_parquet(data / "cells" / "archs.parquet")
    return archs[[f"op_e{edge}" for edge in EDGES]].to_numpy()


def _dead(ops: np.ndarray) -> bool:
    """No way leads from node 0 to node 3."""
    a, b, c, d, e, f = (bool(op) for op in ops)
    return not (d or (a and e) or (b and f) or (a and c and f))


def test_a_table_with_baselines_comes_out(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--data", str(data), "--targets", "gpu_1,board", "--samples", "12", "--seeds", "2"]
    monkeypatch.setattr("sys.argv", ["latency_transfer", *arguments, "--json"])
    latency_transfer.main()
    said = json.loads(capsys.readouterr().out)
    assert said["benchmark"] == "latency_transfer"
    assert said["environment"]["sources"]["gpu_1"] == ["phone", "board"]
    rows = {(r["task"], r["method"], r["metric"]): r for r in said["rows"]}
    for task in ("gpu_1", "board"):
        ours = rows[task, "ours", "spearman_trimmed"]
        assert ours["seeds"] == 2
        assert not ours["baseline"]
        assert ours["mean"] > 0.95
        assert ours["mean"] >= rows[task, "ridge_onehot", "spearman_trimmed"]["mean"]
        assert rows[task, "macs", "within_10pct"]["baseline"]
        assert 0.5 < rows[task, "ours", "coverage_90"]["mean"] <= 1


def test_what_is_kept_is_not_computed_again(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = data / "kept.jsonl"
    arguments = ["--data", str(data), "--targets", "board", "--samples", "12", "--keep", str(kept)]

    def run(*more: str) -> list[dict[str, float]]:
        monkeypatch.setattr("sys.argv", ["latency_transfer", *arguments, *more, "--json"])
        latency_transfer.main()
        return json.loads(capsys.readouterr().out)["rows"]

    first = run("--seeds", "1")
    assert len(run("--seeds", "2")) == len(first)
    assert len(kept.read_text().splitlines()) == 2
    monkeypatch.setattr(latency_transfer, "estimates", None)
    assert run("--seeds", "1") == first
    with pytest.raises(TypeError):
        run("--seeds", "1", "--sources", "phone")


def test_unknown_devices_are_refused(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--data", str(data), "--targets", "tablet"])
    with pytest.raises(SystemExit, match="2"):
        latency_transfer.main()
    assert "no device 'tablet'; devices: gpu_1" in capsys.readouterr().err
