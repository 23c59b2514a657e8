import json
import shutil

import numpy as np
import pytest

import nas.results
from nas.store import RunStore
from nas.trials import Batch
from search_spaces import registry
from search_spaces.errors import InputError

_CONFIG = """
name: small
space: {type: mobilenet_v3, resolution: [24, 28, 32], classes: 10}
data: {type: digits}
supernet: {epochs: 1}
devices: [cpu]
objectives: [{metric: accuracy, goal: max}, {metric: latency_ms, device: cpu, goal: min}]
constraints: [{metric: latency_ms, device: cpu, max: 3.5}]
"""
_LATENCY_MS = np.array([1.0, 2.0, 3.0, 4.0, 2.5])
_ACCURACY = np.array([0.5, 0.7, 0.8, 0.99, 0.6])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    space = registry.create("mobilenet_v3", resolution=[24, 28, 32], classes=10)
    archs = space.sample(np.random.default_rng(0), 5)
    folder = tmp_path_factory.mktemp("runs") / "small"
    estimates = {"accuracy": _ACCURACY, "latency_ms@cpu": _LATENCY_MS, "macs": _LATENCY_MS * 1e6}
    sources = {"accuracy": "predicted", "latency_ms@cpu": "interpolated", "macs": "counted"}
    bounds = {"latency_ms@cpu": (_LATENCY_MS * 0.9, _LATENCY_MS * 1.1)}
    with RunStore.create(folder, _CONFIG, _CONFIG, {"host": "somewhere"}) as store:
        store.append(Batch("search", archs, estimates, sources, bounds))
        store.mark_done("search", seconds=3.0)
        measured = {"accuracy": _ACCURACY[:2] - 0.01, "latency_ms@cpu": _LATENCY_MS[:2] * 1.02}
        store.append(Batch("front", archs[:2], measured, dict.fromkeys(measured, "measured")))
    (folder / "predictors" / "accuracy").mkdir(parents=True)
    model = {"kendall": 0.9, "intervals": {"kendall": [0.85, 0.95]}}
    ridge = {"kendall": 0.8, "intervals": {"kendall": [0.7, 0.9]}}
    report = {"n_train": 8, "n_test": 2, "model": model, "ridge": ridge}
    path = folder / "predictors" / "accuracy" / "report.json"
    path.write_text(json.dumps(report))
    return nas.results.open(folder)


def test_the_front_keeps_to_the_objectives_and_constraints_of_the_run(run):
    front = run.pareto()
    assert front.index.tolist() == [3, 2, 1]
    assert front["accuracy.source"].tolist() == ["predicted"] * 3
    assert front["choices"].iloc[0] == run.space.decode(np.array(front["arch"].iloc[0]))
    assert run.pareto(feasible=False).index.tolist() == [4, 3, 2, 1]


def test_a_probability_counts_the_intervals_of_a_stage(run, tmp_path):
    """By the upper ends of the 90 % intervals: 3.0 +10 % is beyond 3.2, 2.5 is not."""
    folder = tmp_path / "likely"
    shutil.copytree(run.folder, folder)
    config = folder / "config.resolved.yaml"
    config.write_text(_CONFIG.replace("max: 3.5", "max: 3.2, probability: 0.95"))
    likely = nas.results.open(folder)
    assert likely.pareto().index.tolist() == [2, 1]
    # What was measured has no interval here and is compared as it is.
    assert likely.pareto(stage="front").index.tolist() == [2, 1]
    config.write_text(_CONFIG.replace("max: 3.5", "max: 3.2"))
    assert nas.results.open(folder).pareto().index.tolist() == [3, 2, 1]


def test_columns_and_conditions_are_chosen_by_the_caller(run):
    assert run.pareto("latency_ms@cpu").index.tolist() == [1]
    assert run.pareto("accuracy", where="latency_ms@cpu < 3 and macs < 2.2e6").index.tolist() == [2]
    assert run.pareto(where="accuracy > 2").empty
    with pytest.raises(InputError, match=r"pareto: no column 'acuracy'; did you mean 'accuracy'\?"):
        run.pareto("acuracy")


def test_predicted_and_measured_stand_side_by_side(run):
    front = run.front()
    assert front.index.tolist() == [1, 2]
    np.testing.assert_allclose(front["latency_ms@cpu.measured"], [1.02, 2.04])
    np.testing.assert_allclose(front["latency_ms@cpu.predicted"], [1, 2])
    np.testing.assert_allclose(front["latency_ms@cpu.upper"], [1.1, 2.2])
    assert front["latency_ms@cpu.source"].tolist() == ["interpolated"] * 2
    assert "resolution" in front["choices"].iloc[0]


def test_the_run_tells_about_itself(run):
    assert run.config.name == "small"
    assert run.environment == {"host": "somewhere"}
    assert run.stages == {"search": {"seconds": 3.0}}
    assert run.predictor_report().loc["model", "kendall"] == 0.9
    assert run.predictor_report().loc["ridge", "kendall.lower"] == 0.7
    assert list(run.predictor_report().index) == ["model", "ridge"]
    with pytest.raises(InputError, match="no report of a predictor of energy"):
        run.predictor_report("energy")
    with pytest.raises(InputError, match="no trials of its label stage"):
        run.pareto(stage="label")


@pytest.mark.parametrize("text", ["", "name: small", "name: [", "5"])
def test_a_damaged_configuration_is_one_line(run, tmp_path, text):
    folder = tmp_path / "damaged"
    shutil.copytree(run.folder, folder)
    (folder / "config.resolved.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.resolved\.yaml: not a whole experiment"):
        nas.results.open(folder).pareto()


def test_runs_are_found_by_name(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(run.folder.parent)
    assert nas.results.open("small").config.name == "small"
    with pytest.raises(InputError, match="smal: there is no run here; runs: small"):
        nas.results.open("smal")
