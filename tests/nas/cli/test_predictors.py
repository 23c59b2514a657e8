"""fit-predictor and compare, on labels in a CSV file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictors import registry
from search_spaces.choices import Choices

Nas = Callable[..., Any]
_SPACE = ("--space", "choices", "--set", "options={a: [1, 2, 3], b: [1, 2, 3, 4], c: [x, y]}")


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [(a, b, c) for a in (1, 2, 3) for b in (1, 2, 3, 4) for c in ("x", "y")]
    score = [f"{a},{b},{c},{a + 2 * b + (c == 'y')}" for a, b, c in rows]
    path = Path("labels.csv")
    path.write_text("\n".join(["a,b,c,score", *score]), encoding="utf-8")
    return path


def test_a_predictor_is_fitted_saved_and_reported(nas: Nas, labels: Path) -> None:
    command = ["fit-predictor", "labels.csv", *_SPACE, "--metric", "score", "--type", "ridge"]
    found = json.loads(nas(*command, "-o", "fitted", "--json").out)
    assert found["n_train"] + found["n_test"] == 24
    assert found["model"]["kendall"] > 0.7
    assert json.loads(Path("fitted/report.json").read_text())["n_test"] == found["n_test"]
    space = Choices({"a": (1, 2, 3), "b": (1, 2, 3, 4), "c": ("x", "y")})
    archs = np.array([[0, 0, 0], [2, 3, 1]])
    mean = registry.load(Path("fitted"), space).predict(archs).mean
    assert mean == pytest.approx([3, 12], abs=0.5)
    again = nas(*command, "-o", "fitted")
    assert (again.code, "exists already" in again.err) == (2, True)
    assert "in 90 % interval" in nas(*command, "-o", "second").out


def test_predictors_are_compared_in_one_table(nas: Nas, labels: Path) -> None:
    command = ["compare", "labels.csv", *_SPACE, "--metric", "score", "--types", "boosting,ridge"]
    found = json.loads(nas(*command, "--folds", "3", "--json").out)
    assert list(found["models"]) == ["boosting", "ridge"]
    gain = found["models"]["ridge"]["kendall"] - found["models"]["boosting"]["kendall"]
    low, high = found["models"]["boosting"]["kendall_over"]["ridge"]
    assert low <= -gain <= high


def test_the_slow_one_is_compared_where_it_is_asked_for(
    nas: Nas, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    create = registry.create

    def fast(name: str, *args: Any, **parameters: Any) -> Any:
        seen.append(name)
        return create("ridge", *args)

    monkeypatch.setattr(registry, "create", fast)
    command = ["compare", "labels.csv", *_SPACE, "--metric", "score", "--folds", "2"]
    assert nas(*command).code == 0
    assert set(seen) == set(registry.names()) - {"graph_transformer", "macs"}
    assert nas(*command, "--types", "graph_transformer").code == 0
    assert "graph_transformer" in seen


def test_what_is_missing_is_told(nas: Nas, labels: Path) -> None:
    assert "--space: needed" in nas("compare", "labels.csv").err
    wrong = nas("compare", "labels.csv", *_SPACE, "--metric", "scor")
    assert (wrong.code, "did you mean 'score'?" in wrong.err) == (2, True)
    assert "there is no run here" in nas("compare", "nothing").err
    typo = nas("compare", "labels.csv", *_SPACE, "--metric", "score", "--types", "rigde")
    assert (typo.code, "did you mean 'ridge'?" in typo.err) == (2, True)
