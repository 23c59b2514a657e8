import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from nas.objectives import Constraint, Objective
from nas.ui.data import (
    Comparison,
    Network,
    Number,
    Progress,
    ReportData,
    TableFacts,
    progress,
    quantity,
)
from nas.ui.figures import described
from nas.ui.report import render_front, render_report
from predictors.report import Scores

_CPU = "latency_ms@cpu"


def _network(trial: int, accuracy: float, latency_ms: float, verified: bool) -> Network:
    predicted = {
        "accuracy": Number(accuracy, "predicted", accuracy - 0.02, accuracy + 0.02),
        _CPU: Number(latency_ms, "interpolated", latency_ms * 0.9, latency_ms * 1.1),
        "macs": Number(latency_ms * 1e6, "counted"),
    }
    measured = {
        "accuracy": Number(accuracy - 0.01, "measured on the test set"),
        _CPU: Number(latency_ms * 1.04, "measured"),
    }
    choices = {"resolution": 28, "s0.depth": 2, "s0.b0.kernel": 3, "s0.b1.kernel": 5.0}
    return Network(trial, choices, predicted, measured if verified else {})


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    F = rng.random((200, 2))
    measured = np.array([1.0, 2.0, 4.0])
    share = Comparison(
        "accuracy",
        "networks that it had not seen",
        measured / 10,
        measured / 10,
        measured / 10 - 0.05,
        measured / 10 + 0.05,
        ["network 1", "network 2", "network 3"],
    )
    names = [field.name for field in fields(Scores)]
    scores: dict[str, Any] = dict.fromkeys(names, 0.875)
    scores["intervals"] = dict.fromkeys(names, (0.85, 0.9))
    return ReportData(
        name="digits <script>alert(1)</script>",
        objectives=[
            Objective(metric="accuracy", goal="max"),
            Objective(metric="latency_ms", device="cpu", goal="min"),
        ],
        networks=[_network(7, 0.9, 0.5, True), _network(42, 0.97, 1.5, True)],
        evaluated={"accuracy": F[:, 0], _CPU: F[:, 1]},
        n_evaluated=5000,
        comparisons=[
            Comparison(
                _CPU,
                "verified networks",
                measured * np.array([1.0, 1.1, 0.98]),
                measured,
                measured * 0.9,
                measured * 1.25,
                ["a", "b", "c"],
            )
        ],
        predictors={
            "accuracy": {
                "n_train": 240,
                "n_test": 60,
                "model": {**scores, "kendall": 0.925, "kendall_over": {"ridge": (0.02, 0.08)}},
                "ridge": {**scores, "kendall_over": {}},
            }
        },
        held_out={"accuracy": share},
        tables=[TableFacts("cpu", 120, 118, 32, ["k1", "k2"], [{"host": "h", "noisy": False}])],
        progress=[Progress("NSGA-II", np.array([50, 100]), np.array([0.5, 0.75]))],
        seconds={"supernet": 185.2, "search": 12.5},
        environment={"hwnas": "0.1.0", "packages": {"jax": "0.10.2"}},
        config="name: digits\n",
    )


class _Page(HTMLParser):
    void = ("meta", "br", "img", "input", "link", "hr")

    def __init__(self, html):
        super().__init__()
        self.open, self.fetched, self.text, self.ids = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name == "src"]
        self.fetched += [v for n, v in attrs if n == "href" and v and v[0] != "#"]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def test_the_report_is_one_well_formed_page_that_fetches_nothing(data):
    html = render_report(data)
    page = _Page(html)
    assert page.open == []
    assert page.fetched == []
    assert len(page.ids) == len(set(page.ids))
    assert html.count("Plotly.newPlot(") == 4
    assert "<script>alert(1)" not in html
    assert render_report(data) == html


def test_every_number_comes_with_its_source(data):
    text = " ".join(" ".join(_Page(render_report(data)).text).split())
    assert "latency on cpu (ms) measured interpolated" in text
    assert "1.560 1.500 1.350 to 1.650" in text
    assert "accuracy (%) measured on the test set predicted" in text
    assert "96.00 97.00 95.00 to 99.00" in text
    assert "multiply-accumulates (M) counted" in text
    assert "118 of the 120 distinct blocks" in text
    assert "2 are missing, and networks with them have no estimate" in text
    assert "fitted on 32 whole networks" in text
    assert "Learned from 240 networks that were evaluated and tested on 60 others" in text
    assert "inside the bounds: 100 %" in text
    assert "0.875 0.85 to 0.9" in text
    assert "Kendall tau over ridge on one-hot: +0.050 (+0.020 to +0.080)" in text
    assert "within 5 %: 67 %" in text
    assert "NSGA-II 0.75 after 100 networks" in text
    assert "3 min 5 s" in text


def test_numbers_of_different_sources_in_one_column_are_told_apart(data):
    first, second = data.networks
    other = Number(1.5, "interpolated from 48 and 64 channels")
    mixed = replace(second, predicted={**second.predicted, _CPU: other})
    text = " ".join(_Page(render_report(replace(data, networks=[first, mixed]))).text)
    assert "1.500 interpolated from 48 and 64 channels" in text
    assert re.search(r"0.4500 to 0.5500\s+interpolated ", text)


def test_a_run_that_is_not_finished_has_a_report_too(data):
    young = replace(
        data,
        networks=[_network(7, 0.9, 0.5, False)],
        comparisons=[],
        predictors={},
        held_out={},
        tables=[],
        progress=[],
        seconds={},
    )
    text = " ".join(_Page(render_report(young)).text)
    assert "Networks, not verified yet" in text
    assert "Search" not in text.split()
    assert "No network met all constraints" in render_report(replace(young, networks=[]))


def test_the_front_alone_holds_its_hover_texts(data):
    html = render_front(data)
    assert html.count("Plotly.newPlot(") == 1
    assert re.search(
        r"network 42.*?accuracy: 96.00 % measured on the test set, 97.00 % predicted", html
    )
    assert "s0: depth 2 \\u00b7 kernel 3 5" in html


def test_architectures_are_told_in_a_line_a_stage():
    choices = {"resolution": 28, "s0.depth": 2, "s0.b0.kernel": 3, "s0.b1.kernel": 5.0}
    assert described(choices) == ["resolution 28", "s0: depth 2 · kernel 3 5"]


def test_progress_never_falls_and_leaves_infeasible_networks_out():
    rng = np.random.default_rng(1)
    F = rng.random((300, 2))
    curve = progress("x", F, np.zeros((300, 0)), np.ones(2), [[0, 1]], points=20)
    assert (np.diff(curve.hypervolume) >= 0).all()
    assert curve.evaluations[[0, -1]].tolist() == [1, 300]
    infeasible = progress("x", F, np.ones((300, 1)), np.ones(2), [[0, 1]])
    assert not infeasible.hypervolume.any()


def test_units_are_told_and_unknown_columns_are_left_as_they_are():
    assert quantity("accuracy").text(0.97531) == "97.53 %"
    assert quantity(_CPU).axis == "latency on cpu (ms)"
    assert quantity("macs").text(3_250_000) == "3.250 M"
    assert quantity("zen_score@cpu").text(1.5) == "1.500"
    assert quantity("macs").text(2_345_600_000) == "2346 M"


def test_constraints_are_told_with_how_many_keep_to_them(data: ReportData) -> None:
    likely = Constraint(metric="latency_ms", device="cpu", upper=1.0, probability=0.95)
    page = render_report(replace(data, constraints=[likely]))
    line = "latency on cpu at most 1.000 ms with a probability of 95 %: 1 of 2 verified networks"
    assert line in page
    assert "Constraints:" not in render_report(data)
