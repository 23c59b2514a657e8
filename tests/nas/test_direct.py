import importlib
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
    return partly(arch, 1.0)

def partly(arch, fidelity):
    if len(CALLS) >= FAIL_AFTER:
        raise KeyboardInterrupt
    CALLS.append(arch if fidelity == 1 else (arch, fidelity))
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero at .*own_\d+\.py:11 for \{'depth': "),
        ("sys.exit(0)", r"SystemExit: 0 at .*own_\d+\.py:11 for .*: mend it and continue with"),
        ("raise ValueError", r"ValueError at .*own_\d+\.py:11 for "),
    ],
)
def test_a_function_that_fails_is_told_with_its_line(script: Any, line: str, message: str) -> None:
    broken = f"import sys{SCRIPT}".replace("if arch", f"{line}\n    if arch")
    Path(script.__file__).write_text(broken)
    importlib.reload(script)
    with pytest.raises(RunError, match=message):
        search(experiment(script), "run")
    Path(script.__file__).write_text(SCRIPT)
    importlib.reload(script)
    assert search(experiment(script), "run", resume=True).done("search")


def test_what_a_function_prints_is_no_result(
    script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate = script.evaluate
    script.evaluate = lambda arch: sys.stdout.write("hello") and evaluate(arch)
    search(experiment(script), "run")
    out, err = capsys.readouterr()
    assert (out, err.count("hello")) == ("", 20)


HALVING = FILE.replace("TARGET", "MODULE:partly").replace(
    "{evaluations: 20, batch: 4}", "{type: successive_halving, eta: 2, evaluations: 9, batch: 5}"
)


def halving(script: Any) -> DirectExperiment:
    return experiment(script, HALVING.replace("MODULE", script.__name__))


def spent(calls: list[Any]) -> float:
    return sum(call[1] if isinstance(call, tuple) else 1.0 for call in calls)


def test_halving_spends_fidelities_and_keeps_full_evaluations_apart(script: Any) -> None:
    search(halving(script), "run")
    assert 8.0 < spent(script.CALLS) <= 9.0
    run = open_run("run")
    asked = [call[1] for call in script.CALLS if isinstance(call, tuple)]
    full = [call for call in script.CALLS if isinstance(call, dict)]
    assert {fidelity: asked.count(fidelity) for fidelity in (0.25, 0.5)} == {
        fidelity: len(run.trials(f"fidelity {fidelity}")) for fidelity in (0.25, 0.5)
    }
    assert asked.count(0.25) > asked.count(0.5) > len(full) > 0
    assert len(run.trials("search")) == len(full)
    assert {len(c) for c in run.pareto(stage="search")["choices"]} <= {3, 4}
    assert run.stages["search"]["spent"] == pytest.approx(spent(script.CALLS))


@pytest.mark.parametrize("after", [0, 7, 16])
def test_halving_goes_on_where_it_was_killed(script: Any, after: int) -> None:
    search(halving(script), "whole")
    whole, script.CALLS[:] = list(script.CALLS), []
    script.FAIL_AFTER = after
    with pytest.raises(KeyboardInterrupt):
        search(halving(script), "killed")
    script.FAIL_AFTER = 10**9
    search(halving(script), "killed", resume=True)
    assert whole == script.CALLS
    journals = [Path(run, "search", "journal.jsonl").read_text() for run in ("whole", "killed")]
    assert journals[0] == journals[1]


def test_halving_needs_a_function_that_takes_a_fidelity(script: Any) -> None:
    what = experiment(script, HALVING.replace("MODULE:partly", "TARGET"))
    with pytest.raises(InputError, match="takes no argument `fidelity`"):
        search(what, "run")


def test_halving_that_reached_no_full_evaluation_says_so(script: Any) -> None:
    text = HALVING.replace("MODULE", script.__name__).replace("evaluations: 9", "evaluations: 1")
    with pytest.raises(RunError, match="no architecture was evaluated in full"):
        search(experiment(script, text), "run")


def test_a_fidelity_is_full_where_the_search_knows_none(script: Any) -> None:
    search(experiment(script, FILE.replace("TARGET", f"{script.__name__}:partly")), "run")
    assert len(script.CALLS) == spent(script.CALLS) == 20


def test_says_that_nothing_is_feasible(script: Any) -> None:
    with pytest.raises(RunError, match="none of the 20 architectures evaluated meets"):
        search(experiment(script, FILE.replace("max: 40", "max: 4")), "run")


@pytest.mark.parametrize("returned", [None, {"accuracy": np.nan, "cost": 1.0}])
def test_says_that_nothing_could_be_evaluated(script: Any, returned: Any) -> None:
    script.BROKEN = {"relu": returned, "swish": returned}
    with pytest.raises(RunError, match="has a number for each of accuracy, cost: the evaluator"):
        search(experiment(script), "run")


def test_replays_a_table(script: Any, tmp_path: Path) -> None:
    rows = ["depth,width1,width2,act,accuracy,cost"]
    rows += [f"1,{w},8,{act},{w / 10},{w}" for w in (8, 16, 32) for act in ("relu", "swish")]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    text = FILE.replace('{type: python, target: "TARGET"}', "{type: table, file: table.csv}")
    search(experiment(script, text), "run")
    front = open_run("run").pareto(stage="search")
    assert sorted(set(front["cost"])) == [8.0, 16.0, 32.0]


def test_asks_for_what_a_table_holds_alone(script: Any, tmp_path: Path) -> None:
    """Numbered by the space, though the table lacks some options and has others."""
    options = "{a: [1, 2, 3, 4, 5, 6], b: [8, 16, 32, 64, 128, 256], act: [relu, swish, tanh]}"
    rows = [f"{a},{b},{act}" for a in (2, 5, 7) for b in (64, 256) for act in ("tanh", "relu")]
    text = "\n".join(["a,b,act,accuracy", *(f"{row},{i}" for i, row in enumerate(rows))])
    (tmp_path / "table.csv").write_text(text)
    what = f"""
name: sparse
space: {{type: choices, options: {options}}}
evaluator: {{type: table, file: table.csv}}
objectives: [{{metric: accuracy}}]
search: {{evaluations: 20, batch: 4}}
"""
    search(experiment(script, what), "run")
    trials = open_run("run").trials("search")
    assert sorted(trials["accuracy"]) == list(range(8))


def test_refuses_a_table_of_other_architectures(script: Any, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("depth,width1,width2,act,accuracy,cost\n1,8,32,relu,1,1")
    text = FILE.replace('{type: python, target: "TARGET"}', "{type: table, file: table.csv}")
    with pytest.raises(InputError, match="no row is an architecture of space choices"):
        search(experiment(script, text), "run")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("evaluations: 20", "evaluation: 20", "unknown key 'evaluation'; did you mean"),
        ("goal: min", "device: cpu, goal: min", "objectives.1.device"),
        (", goal: min", "", "cost needs a goal"),
        ("{evaluations", "{type: atuo, evaluations", "unknown search algorithm 'atuo'; did you"),
        ("TARGET", "nowhere", "evaluator.target: must match"),
        ("{evaluations", "{sampler: tpe, evaluations", "search.sampler: unknown key 'sampler' of"),
        ("{evaluations", "{type: optuna, sampler: tep, evaluations", "did you mean 'tpe'?"),
        ("{evaluations", "{type: successive_halving, eta: 1, evaluations", "eta: must be at least"),
        (
            '{type: python, target: "TARGET"}\nobjectives: [{metric: accuracy}, {metric: cost, '
            "goal: min}]\nconstraints: [{metric: cost, max: 40}]\nsearch: {",
            "{type: table, file: t.csv}\nobjectives: [{metric: accuracy}]\n"
            "search: {type: successive_halving, ",
            "search.type: successive_halving needs partial evaluations",
        ),
        ("max: 40", "max: 40, probability: 0.9", "gives cost without a spread: remove"),
    ],
)
def test_says_what_is_wrong_with_the_file(script: Any, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        experiment(script, FILE.replace(old, new))
    assert any(message in problem for problem in error.value.problems), error.value.problems


def test_a_module_that_can_not_be_imported_is_told_of(script: Any) -> None:
    Path("broken_module.py").write_text("def evaluate(:\n")
    what = experiment(script).model_dump(mode="json", by_alias=True)
    what["evaluator"]["target"] = "broken_module:evaluate"
    with pytest.raises(InputError, match=r"importing broken_module fails: SyntaxError: .*line 1"):
        search(DirectExperiment.model_validate_json(json.dumps(what)), "run")


@pytest.mark.parametrize("target", ["no_such_module_here:evaluate", "json:nothing"])
def test_says_what_is_wrong_with_the_target(script: Any, target: str) -> None:
    data = experiment(script).model_dump(mode="json", by_alias=True)
    data["evaluator"]["target"] = target
    with pytest.raises(InputError, match=r"evaluator\.target"):
        search(DirectExperiment.model_validate_json(json.dumps(data)), "run")
