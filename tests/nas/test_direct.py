import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas import direct
from nas.config import DirectExperiment, load_any, to_yaml
from nas.log import Log
from nas.results import open as open_run
from nas.store import RunStore
from search_spaces.errors import InputError, RunError

FILE = """
name: own
space:
  type: choices
  options: {depth: [1, 2], width1: [8, 16, 32], width2: [8, 16, 32], act: [relu, swish]}
  when: {width2: {depth: [2]}}
evaluator: {type: python, target: "TARGET"}
objectives: [{metric: accuracy}, {metric: cost, goal: min}]
constraints: [{metric: cost, max: 40}]
search: {evaluations: 20, batch: 4}
"""
SCRIPT = """
CALLS, FAIL_AFTER, BROKEN = [], 10**9, {}

def evaluate(arch):
    if len(CALLS) >= FAIL_AFTER:
        raise KeyboardInterrupt
    CALLS.append(arch)
    if arch["act"] in BROKEN:
        return BROKEN[arch["act"]]
    widths = [arch[f"width{i + 1}"] for i in range(arch["depth"])]
    return {"accuracy": sum(widths) ** 0.5, "cost": sum(widths), "extra": 1}
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Any:
    """A user's module, imported anew for each test from the folder that nas is started in."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from importlib import import_module

    yield import_module(name)
    del sys.modules[name]


def experiment(script: Any, text: str = FILE) -> DirectExperiment:
    path = Path("own.yaml")
    path.write_text(text.replace("TARGET", f"{script.__name__}:evaluate"))
    loaded = load_any(path)
    assert isinstance(loaded, DirectExperiment)
    return loaded


def search(what: DirectExperiment, folder: str, *, resume: bool = False) -> RunStore:
    if resume:
        store = RunStore.open(Path(folder))
    else:
        store = RunStore.create(Path(folder), "", to_yaml(what), {})
    with store, Log() as log:
        direct.run(what, store, log)
    return store


def test_finds_the_front(script: Any) -> None:
    search(experiment(script), "run")
    assert len(script.CALLS) == 20
    assert all(("width2" in arch) == (arch["depth"] == 2) for arch in script.CALLS)
    front = open_run("run").pareto(stage="search")
    assert front["cost"].to_numpy().max() <= 40
    costs = {8: 8**0.5, 16: 16**0.5, 32: 32**0.5}
    assert costs.items() <= dict(zip(front["cost"], front["accuracy"], strict=True)).items()
    assert set(front["extra"]) == {1.0}


@pytest.mark.parametrize("after", [0, 3, 13])
def test_killed_runs_go_on_inside_the_batch(script: Any, after: int) -> None:
    what = experiment(script)
    search(what, "whole")
    whole, script.CALLS[:] = list(script.CALLS), []
    script.FAIL_AFTER = after
    with pytest.raises(KeyboardInterrupt):
        search(what, "killed")
    script.FAIL_AFTER = 10**9
    search(what, "killed", resume=True)
    assert whole == script.CALLS
    journals = [Path(run, "search", "journal.jsonl").read_text() for run in ("whole", "killed")]
    assert journals[0] == journals[1]


def test_what_can_not_be_evaluated_is_passed_over(script: Any) -> None:
    script.BROKEN = {"swish": None}
    search(experiment(script), "run")
    table = open_run("run").trials("search")
    assert np.isnan(table["accuracy"]).any()
    front = open_run("run").pareto(stage="search")
    assert {choices["act"] for choices in front["choices"]} == {"relu"}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            {"accuracy": 1.0},
            "returned no 'cost', which the experiment needs",
        ),
        ({"accuracy": "high", "cost": 1}, "metrics must be numbers"),
        (0.9, "a dict of metrics is needed"),
    ],
)
def test_refuses_what_is_no_metric(script: Any, returned: Any, message: str) -> None:
    script.BROKEN = {"relu": returned, "swish": returned}
    with pytest.raises(InputError, match=message):
        search(experiment(script), "run")


def test_says_that_nothing_is_feasible(script: Any) -> None:
    with pytest.raises(RunError, match="none of the 20 architectures evaluated meets"):
        search(experiment(script, FILE.replace("max: 40", "max: 4")), "run")


def test_replays_a_table(script: Any, tmp_path: Path) -> None:
    rows = ["depth,width1,width2,act,accuracy,cost"]
    rows += [f"1,{w},8,{act},{w / 10},{w}" for w in (8, 16, 32) for act in ("relu", "swish")]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    text = FILE.replace('{type: python, target: "TARGET"}', "{type: table, file: table.csv}")
    search(experiment(script, text), "run")
    front = open_run("run").pareto(stage="search")
    assert sorted(set(front["cost"])) == [8.0, 16.0, 32.0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("evaluations: 20", "evaluation: 20", "unknown key 'evaluation'; did you mean"),
        ("goal: min", "device: cpu, goal: min", "objectives.1.device"),
        (", goal: min", "", "cost needs a goal"),
        ("{evaluations", "{type: atuo, evaluations", "unknown search algorithm 'atuo'; did you"),
        ("TARGET", "nowhere", "evaluator.target: must match"),
        ("max: 40", "max: 40, probability: 0.9", "gives cost without a spread: remove"),
    ],
)
def test_says_what_is_wrong_with_the_file(script: Any, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        experiment(script, FILE.replace(old, new))
    assert any(message in problem for problem in error.value.problems), error.value.problems


@pytest.mark.parametrize("target", ["no_such_module_here:evaluate", "json:nothing"])
def test_says_what_is_wrong_with_the_target(script: Any, target: str) -> None:
    data = experiment(script).model_dump(mode="json", by_alias=True)
    data["evaluator"]["target"] = target
    with pytest.raises(InputError, match=r"evaluator\.target"):
        search(DirectExperiment.model_validate_json(json.dumps(data)), "run")
