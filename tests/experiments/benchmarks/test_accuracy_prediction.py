"""The benchmark on tables made here, in the layout of the published ones."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from experiments.benchmarks.accuracy_prediction import (
    main,
    predictor_of,
    selected,
    splits,
)
from experiments.benchmarks.accuracy_tables import load_tables
from search_spaces.errors import InputError

_EDGES = ("e10", "e20", "e21", "e30", "e31", "e32")
_N = 150


@pytest.fixture(scope="module")
def cells_only(tmp_path_factory):
    """Cells whose accuracy follows from their convolutions."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    cells = folder / "cells"
    cells.mkdir()
    ops = np.unique(rng.integers(0, 5, (2 * _N, 6)), axis=0)[:_N]
    archs = pd.DataFrame(ops, columns=[f"op_{edge}" for edge in _EDGES])
    archs.assign(arch_idx=np.arange(_N)).to_parquet(cells / "archs.parquet")
    score = 80 + (ops == 3).sum(1) + 0.1 * rng.standard_normal(_N)
    accuracy = pd.DataFrame({"arch_idx": np.arange(_N)[::-1], "some_task": score[::-1]})
    accuracy.to_parquet(cells / "accuracy.parquet")
    return folder


@pytest.fixture(scope="module")
def tables(cells_only, tmp_path_factory):
    """The same, and two runs of a MobileNetV3."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("more")
    shutil.copytree(cells_only / "cells", folder / "cells")
    runs = folder / "runs"
    runs.mkdir()
    for name in ("first", "second"):
        choices = {f"ks_{i}": rng.choice([3, 5, 7], 30) for i in range(20)}
        choices |= {f"e_{i}": rng.choice([3, 4, 6], 30) for i in range(20)}
        choices |= {f"d_{i}": rng.choice([2, 3, 4], 30) for i in range(5)}
        depth = sum(choices[f"d_{i}"] for i in range(5))
        table = pd.DataFrame({**choices, "r": 224, "top1": 70 + depth, "macs": 1})
        table.to_parquet(runs / f"{name}.parquet")
    return load_tables(folder)


def test_tables_are_found_by_their_layout(tables):
    cells, runs = tables
    assert (cells.space.name, runs.space.name) == ("nasbench201", "mobilenet_v3")
    assert list(cells.labels) == ["some_task"]
    assert list(runs.labels) == ["top1"]
    assert runs.files == ("first", "second")
    first = cells.space.decode(cells.archs[0])
    convs = sum(choice == "nor_conv_3x3" for choice in first.values())
    assert cells.labels["some_task"][0] == pytest.approx(80 + convs, abs=0.5)
    depths = [sum(v for k, v in runs.space.decode(a).items() if "depth" in k) for a in runs.archs]
    assert np.array_equal(runs.labels["top1"], 70 + np.array(depths))


def test_a_run_is_estimated_from_the_others(tables):
    _, runs = tables
    found = {(suffix, method): rows for suffix, method, _, rows in splits(runs, (), 1, ("ours",))}
    assert {suffix for suffix, _ in found} == {"/first", "/second"}
    assert np.array_equal(found["/first", "ours"], np.arange(30, 60))


def test_one_json_object_with_every_method(cells_only, monkeypatch, capsys):
    asked = ["--data", str(cells_only), "--n", "40", "--seeds", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["accuracy_prediction", *asked])
    main()
    report = json.loads(capsys.readouterr().out)
    assert report["benchmark"] == "accuracy_prediction"
    taus = {r["method"]: r["mean"] for r in report["rows"] if r["metric"] == "kendall"}
    assert taus.keys() == {"ours", "ours_chosen", "ridge", "macs"}
    assert taus["ours"] > 0.6
    assert {(r["n"], r["seeds"], r["task"]) for r in report["rows"]} == {(40, 1, "cells/some_task")}


def test_unknown_names_are_told(tables, tmp_path):
    with pytest.raises(InputError, match="did you mean 'cells'"):
        selected(tables, "cell", None)
    with pytest.raises(InputError, match="did you mean 'some_task'"):
        selected(tables, None, "some_tasks")
    with pytest.raises(InputError, match="no folder there"):
        load_tables(tmp_path)


def test_other_predictors_stand_beside_the_baselines(cells_only, monkeypatch, capsys):
    asked = ["--data", str(cells_only), "--n", "40", "--seeds", "1", "--tested", "60", "--json"]
    monkeypatch.setattr(sys, "argv", ["accuracy_prediction", *asked, "--types", "boosting"])
    main()
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {(r["method"], r["baseline"]) for r in rows} == {
        ("boosting", False), ("ridge", True), ("macs", True),
    }  # fmt: skip
    assert predictor_of("graph_transformer:loss=pairwise:pretrain=true") == (
        "graph_transformer", {"loss": "pairwise", "pretrain": True},
    )  # fmt: skip
    assert predictor_of("ours_chosen") == ("auto", {})
