import json

import numpy as np
import pytest

import nas.results
from nas.store import RunStore
from nas.trials import Batch
from nas.ui.gather import gather
from nas.ui.report import render_report
from predictors.report import FitReport, HeldOut, judge
from search_spaces import registry

_CONFIG = """
name: small
space: {type: mobilenet_v3, resolution: [24, 28, 32], classes: 10}
data: {type: digits}
supernet: {epochs: 1}
devices: [cpu]
objectives: [{metric: accuracy, goal: max}, {metric: latency_ms, device: cpu, goal: min}]
"""


@pytest.fixture
def run(tmp_path):
    space = registry.create("mobilenet_v3", resolution=[24, 28, 32], classes=10)
    archs = space.sample(np.random.default_rng(0), 4)
    estimates = {
        "accuracy": np.array([0.6, 0.7, 0.8, 0.65]),
        "latency_ms@cpu": np.array([1.0, 2.0, 3.0, 2.5]),
        "macs": np.array([1e6, 2e6, 3e6, 2.5e6]),
    }
    sources = {"accuracy": "predicted", "latency_ms@cpu": "interpolated", "macs": "counted"}
    bounds = {"accuracy": (estimates["accuracy"] - 0.1, estimates["accuracy"] + 0.1)}
    with RunStore.create(tmp_path / "small", _CONFIG, _CONFIG, {"hwnas": "0"}) as store:
        labels = {"accuracy": estimates["accuracy"] + 0.01}
        store.append(Batch("label", archs, labels, {"accuracy": "measured"}))
        store.append(Batch("search", archs, estimates, sources, bounds))
        store.mark_done("search", seconds=3.0, hypervolume=0.5)
        measured = {name: values[2:] * 1.1 for name, values in estimates.items()}
        measured["macs"] = estimates["macs"][2:]
        told = {"accuracy": "measured", "latency_ms@cpu": "measured", "macs": "counted"}
        store.append(Batch("front", archs[2:], measured, told))
    path = tmp_path / "small" / "predictors" / "accuracy" / "report.json"
    path.parent.mkdir(parents=True)
    label, mean, std = np.array([0.7, 0.5]), np.array([0.72, 0.5]), np.array([0.01, 0.02])
    judged = judge(label, {"model": (mean, std), "ridge": (mean, std)}, ["ridge"])
    report = FitReport(2, HeldOut(np.array([2, 0]), label, mean, std), judged)
    path.write_text(json.dumps(report.to_dict()))
    return nas.results.open(tmp_path / "small")


def test_the_front_and_all_that_was_verified_are_gathered(run):
    data = gather(run)
    assert [network.trial for network in data.networks] == [3, 2, 1, 4]
    assert [network.trial for network in data.verified] == [3, 4]
    best = data.networks[0]
    assert best.predicted["accuracy"].source == "predicted"
    assert best.predicted["accuracy"].upper == pytest.approx(0.9)
    assert best.measured["latency_ms@cpu"].value == pytest.approx(3.3)
    assert "resolution" in best.choices
    assert data.n_evaluated == 4
    assert data.seconds == {"search": 3.0}
    assert list(data.predictors) == ["accuracy"]
    assert data.held_out["accuracy"].labels == ["network 3", "network 1"]
    assert data.held_out["accuracy"].upper == pytest.approx([0.72 + 0.01645, 0.5329], abs=1e-4)


def test_only_what_was_really_measured_is_compared(run):
    comparisons = {item.column: item for item in gather(run).comparisons}
    assert set(comparisons) == {"accuracy", "latency_ms@cpu"}
    np.testing.assert_allclose(comparisons["latency_ms@cpu"].measured, [3.3, 2.75])
    np.testing.assert_allclose(comparisons["latency_ms@cpu"].predicted, [3.0, 2.5])
    assert comparisons["accuracy"].labels == ["network 3", "network 4"]


def test_what_is_gathered_can_be_drawn(run):
    html = render_report(gather(run))
    assert html.count("Plotly.newPlot(") == 4
    assert "network 3" in html
