"""The results notebook, as a script, on runs whose evaluator is the user's own."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import nas.results
from nas.store import RunStore
from nas.trials import Batch
from search_spaces import registry
from search_spaces.errors import InputError

_NOTEBOOK = Path(__file__).parents[2] / "experiments" / "results.py"
_CONFIG = """
name: own
space: {type: choices, options: {depth: [1, 2], width: [8, 16, 32]}}
evaluator: {type: python, target: "nowhere:evaluate"}
objectives: OBJECTIVES
search: {evaluations: 6}
"""


def own_run(folder: Path, objectives: str) -> Path:
    """A run that evaluated all its networks, one of which could not be."""
    space = registry.create("choices", options={"depth": [1, 2], "width": [8, 16, 32]})
    archs = np.stack(np.meshgrid(range(2), range(3)), -1).reshape(-1, 2)
    cost = np.array([8.0, 16, 16, 32, 32, np.nan])
    values = {"loss": -cost, "cost": cost}
    config = _CONFIG.replace("OBJECTIVES", objectives)
    with RunStore.create(folder, config, config, {}) as store:
        batch = Batch("search", space.canonical(archs), values, dict.fromkeys(values, "measured"))
        store.append(batch)
    return folder


@pytest.mark.parametrize(
    "objectives",
    ["[{metric: loss, goal: min}, {metric: cost, goal: min}]", "[{metric: loss, goal: min}]"],
)
def test_shows_a_run_with_an_evaluator_of_ones_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    objectives: str,
) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    drawn = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: drawn.append(figure))
    monkeypatch.setenv("HWNAS_RUN", str(own_run(tmp_path / "own", objectives)))
    runpy.run_path(str(_NOTEBOOK))
    assert [len(trace.x) for trace in drawn[0].data] == [6, 5 if "cost" in objectives else 2]
    assert "6 networks searched, 0 verified" in capsys.readouterr().out


def test_a_stage_that_such_a_run_has_not_is_told(tmp_path: Path) -> None:
    run = nas.results.open(own_run(tmp_path / "own", "[{metric: loss, goal: min}]"))
    for ask in (run.front, lambda: run.pareto(stage="label")):
        with pytest.raises(InputError, match="all is in its search stage"):
            ask()
