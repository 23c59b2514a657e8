"""A device that nobody has: wherever its figures are shown, nothing says they were measured."""

import re

import numpy as np
import pytest

import nas.results
from nas.cli import main
from nas.results.run import Results
from nas.store import RunStore
from nas.trials import Batch
from nas.ui.data import TableFacts
from nas.ui.gather import gather
from nas.ui.report import render_front, render_report
from nas.verify import agreement, verified_front
from search_spaces import registry

_CONFIG = """
name: unseen
space: {type: mobilenet_v3, resolution: [24, 28, 32], classes: 10}
data: {type: digits}
supernet: {epochs: 1}
devices: [orin]
objectives: [{metric: macs, goal: max}, {metric: latency_ms, device: orin, goal: min}]
"""
_COLUMN = "latency_ms@orin"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Results:
    space = registry.create("mobilenet_v3", resolution=[24, 28, 32], classes=10)
    archs = space.sample(np.random.default_rng(0), 4)
    searched = {"macs": np.array([1e6, 2e6, 3e6, 4e6]), _COLUMN: np.array([1.0, 2.0, 3.0, 4.0])}
    sources = {"macs": "counted", _COLUMN: "estimated from estimated blocks"}
    bounds = {_COLUMN: (searched[_COLUMN] * 0.9, searched[_COLUMN] * 1.1)}
    folder = tmp_path_factory.mktemp("runs") / "unseen"
    with RunStore.create(folder, _CONFIG, _CONFIG, {"hwnas": "0"}) as store:
        store.append(Batch("search", archs, searched, sources, bounds))
        verified = {"macs": searched["macs"], _COLUMN: searched[_COLUMN] * 1.02}
        store.append(Batch("front", archs, verified, {"macs": "counted", _COLUMN: "estimated"}))
    return nas.results.open(folder)


def test_the_report_never_says_measured(run: Results) -> None:
    from plotly.offline import get_plotlyjs

    facts = TableFacts("orin", 94, 94, 30, (), [{"runtime": "estimate"}], "estimated")
    data = gather(run, [facts])
    assert {n.measured[_COLUMN].source for n in data.verified} == {"estimated"}
    [comparison] = data.comparisons
    assert (comparison.column, comparison.source) == (_COLUMN, "estimated")
    for html in (render_report(data), render_front(data)):
        shown = html.replace(get_plotlyjs(), "")
        shown = re.sub(r"<style>.*?</style>|class=\"measured\"", "", shown, flags=re.DOTALL)
        assert "measured" not in shown.lower()
        assert "estimated at the end" in shown
    text = render_report(data)
    assert "were estimated by its compiler, without the device" in text
    assert "fitted on 30 whole networks estimated end to end" in text
    assert "2.0 % of what was estimated" in text


def test_the_front_in_pandas_never_says_measured(run: Results) -> None:
    front = run.front()
    np.testing.assert_allclose(front[f"{_COLUMN}.estimated"], [1.02, 2.04, 3.06, 4.08])
    assert f"{_COLUMN}.measured" not in front
    assert f"{_COLUMN}.predicted" in front
    assert set(run.trials("front")[f"{_COLUMN}.source"]) == {"estimated"}


def test_estimates_are_no_evidence_for_estimates(run: Results) -> None:
    assert agreement(run) == {}
    front = verified_front(run)
    assert f"{_COLUMN}.predicted" not in front
    assert set(front[f"{_COLUMN}.source"]) == {"estimated"}


def test_the_commands_never_say_measured(run: Results, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*arguments: str) -> str:
        with pytest.raises(SystemExit):
            main(arguments)
        return capsys.readouterr().out

    folder = str(run.folder)
    assert f"{_COLUMN} (estimated" in printed("pareto", folder)
    for shown in (printed("pareto", folder), printed("pareto", folder, "--json")):
        assert "measured" not in shown
    listed = printed("devices")
    [row] = [line for line in listed.splitlines() if re.search(r"\borin\b", line)]
    assert "estimated by compiler_estimate" in row
    assert "no hardware validated it" in row
    assert "measured" not in row
    assert "measured by onnxruntime_cpu" in listed
    assert "measured" not in printed("devices", "orin")
