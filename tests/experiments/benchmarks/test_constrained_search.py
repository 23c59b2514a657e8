"""The benchmark on a table made here, in the layout of the published one."""

import argparse
import json
import sys

import numpy as np
import pandas as pd
import pytest

from experiments.benchmarks.constrained_search import METHODS, Measured, Problem, load, main

_EDGES = ("e10", "e20", "e21", "e30", "e31", "e32")
_N = 300


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Cells whose accuracy and latency follow from their operations."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    space = folder / "nasbench201"
    space.mkdir()
    ops = np.unique(rng.integers(0, 5, (2 * _N, 6)), axis=0)[:_N]
    archs = pd.DataFrame(ops.astype(np.int8), columns=[f"op_{edge}" for edge in _EDGES])
    macs = 10.0 + 20.5 * (ops == 3).sum(1) + 2.5 * (ops == 2).sum(1)
    key = {"arch_idx": np.arange(_N)}
    archs.assign(macs_m=macs, **key).to_parquet(space / "archs.parquet")
    accuracy = 60 + 3.0 * (ops == 3).sum(1) + 1.0 * (ops == 1).sum(1)
    pd.DataFrame({"some_task": accuracy + 0.01 * rng.standard_normal(_N), **key}).to_parquet(
        space / "accuracy.parquet"
    )
    devices = {
        name: (1.3 + weights[0] * (ops == 3).sum(1) + weights[1] * (ops == 4).sum(1))
        * np.exp(0.01 * rng.standard_normal(_N))
        for name, weights in {"old_1": (1.0, 0.2), "new_1": (0.9, 0.5), "chip": (1.1, 0.4)}.items()
    }
    pd.DataFrame({**devices, **key}).to_parquet(space / "latency_ms.parquet")
    return folder


def one_problem(data, device, bound):
    namespace = {"data": data, "space": "nasbench201", "task": "some_task", "latency": None}
    namespace |= {"devices": device, "bounds": [bound], "latencies": 10, "queries": 15}
    ((key, problem),) = load(argparse.Namespace(**namespace)).items()
    assert key == (device, f"{bound:g} ms")
    assert isinstance(problem, Problem)
    return problem


def test_a_slower_network_is_a_violation_and_the_best_within_the_bound_has_no_regret(data):
    problem = one_problem(data, "chip", 3.0)
    truth = problem.case.latency_ms
    within = np.flatnonzero(truth <= 3.0)
    best = within[np.argmax(problem.accuracy[within])]
    assert problem.outcome(int(best)) == (0.0, 0.0)
    slow = int(np.argmax(truth))
    assert problem.outcome(slow)[0] == 1.0
    worst = within[np.argmin(problem.accuracy[within])]
    assert problem.outcome(None) == problem.outcome(int(worst))


def test_the_whole_comparison_on_a_small_table(data, monkeypatch, capsys):
    arguments = ["--task", "some_task", "--devices", "chip", "--quantiles", "0.5"]
    arguments += ["--queries", "20", "--seeds", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["constrained_search", "--data", str(data), *arguments])
    main()
    report = json.loads(capsys.readouterr().out)
    assert report["benchmark"] == "constrained_search"
    found = {(r["task"], r["method"], r["metric"]): r for r in report["rows"]}
    for metric in ("violations", "regret"):
        for method in METHODS:
            row = found["chip 50% quantile", method, metric]
            assert (row["n"], row["seeds"]) == (20, 1)
            assert row["mean"] == found["all 50% quantile", method, metric]["mean"]
    ours, drawn = (
        {m: found["chip 50% quantile", method, m]["mean"] for m in ("violations", "regret")}
        for method in ("ours", "random")
    )
    assert ours["violations"] == 0
    assert 0 <= ours["regret"] < drawn["regret"]
    assert found["chip 50% quantile", "macs", "regret"]["baseline"]


def test_the_network_of_most_to_gain_is_measured(data):
    problem = one_problem(data, "chip", 3.0)
    measured = Measured(problem, problem.case.known[:6])
    holds, found = np.zeros(_N), np.array([10, 20, 30])
    assert not measured.measure_best(found[:0], holds)
    order = found[np.argsort(problem.accuracy[found])]
    holds[order] = (1.0, 0.1, 0.0)
    assert measured.measure_best(found, holds)
    assert measured.rows[-1] == order[1]
    holds[order[1:]] = 0.0
    assert not measured.measure_best(found, holds)
    assert problem.best(found[holds[found] > 0.99]) == order[0]


def test_an_unknown_device_is_one_line(data, monkeypatch, capsys):
    monkeypatch.setattr(
        sys,
        "argv",
        ["constrained_search", "--data", str(data), "--task", "some_task", "--devices", "chipp"],
    )
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "did you mean 'chip'?" in capsys.readouterr().err
