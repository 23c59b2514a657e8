import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from nas.objectives import METRICS, Constraint, Objective, to_F, to_G, views
from search_spaces.errors import InputError

METRIC_VALUES = {
    "accuracy": np.array([0.9, 0.8]),
    "latency_ms@cpu": np.array([4.0, 10.0]),
    "macs": np.array([100, 200]),
}


def problems(model: type[BaseModel], **data: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        model.model_validate(data)
    return [item["msg"].removeprefix("Value error, ") for item in error.value.errors()]


def test_goal_defaults_to_the_usual_one() -> None:
    assert Objective(metric="accuracy").goal == "max"
    assert Objective(metric="macs").goal == "min"
    assert Objective(metric="accuracy", goal="min").goal == "min"


@pytest.mark.parametrize("metric", METRICS)
def test_column(metric: str) -> None:
    device = "cpu" if METRICS[metric].per_device else None
    column = Objective(metric=metric, device=device).column
    assert column == (f"{metric}@cpu" if device else metric)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"metric": "latency"}, "unknown metric 'latency'; did you mean 'latency_ms'?"),
        ({"metric": "xyz"}, "unknown metric 'xyz'; there are: accuracy, macs"),
        ({"metric": "latency_ms"}, "latency_ms needs a device: add `device: cpu` or another"),
        ({"metric": "macs", "device": "cpu"}, "macs is the same on all devices: remove `device`"),
        ({"metric": "macs", "goal": "up"}, "Input should be 'min' or 'max'"),
        ({"metric": "macs", "gaol": "min"}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_objectives(data: dict[str, Any], problem: str) -> None:
    (line,) = problems(Objective, **data)
    assert line.startswith(problem)


@pytest.mark.parametrize(
    ("bounds", "problem"),
    [
        ({}, "the constraint on macs needs `min` or `max`"),
        ({"min": 3, "max": 2}, "no macs is at least 3 and at most 2: raise `max` or lower `min`"),
        ({"max": float("nan")}, "Input should be a finite number"),
        ({"maximum": 3}, "Extra inputs are not permitted"),
        ({"max": 3, "probability": 0.9}, "macs is counted and has no spread: remove `probability`"),
        ({"max": 3, "probability": 1.0}, "Input should be less than 1"),
        ({"max": 3, "probability": 0.2}, "Input should be greater than or equal to 0.5"),
    ],
)
def test_wrong_bounds(bounds: dict[str, Any], problem: str) -> None:
    assert problem in problems(Constraint, metric="macs", **bounds)


def test_bounds_by_both_names() -> None:
    yaml = Constraint.model_validate({"metric": "macs", "min": 1, "max": 2})
    assert yaml == Constraint(metric="macs", lower=1, upper=2)
    assert yaml.model_dump(by_alias=True)["max"] == 2


def test_frozen_and_hashable() -> None:
    objective = Objective(metric="macs")
    assert len({objective, Objective(metric="macs", goal="min")}) == 1
    with pytest.raises(ValidationError):
        objective.metric = "params"  # pyright: ignore[reportAttributeAccessIssue]


def test_schema_says_no_goal_that_may_be_wrong() -> None:
    assert "default" not in Objective.model_json_schema()["properties"]["goal"]
    assert {"min", "max"} <= set(Constraint.model_json_schema()["properties"])


def test_to_F_minimises_all() -> None:  # noqa: N802
    objectives = [
        Objective(metric="accuracy"),
        Objective(metric="latency_ms", device="cpu"),
        Objective(metric="macs", goal="max"),
    ]
    F = to_F(METRIC_VALUES, objectives)
    assert F.dtype == np.float64
    assert F.tolist() == [[-0.9, 4.0, -100.0], [-0.8, 10.0, -200.0]]


def test_to_G_is_relative_to_the_bound() -> None:  # noqa: N802
    constraints = [
        Constraint(metric="latency_ms", device="cpu", upper=8),
        Constraint(metric="accuracy", lower=0.85),
        Constraint(metric="macs", lower=150, upper=160),
    ]
    G = to_G(METRIC_VALUES, constraints)
    expected = [
        [-0.5, -0.05 / 0.85, 50 / 150, -60 / 160],
        [0.25, 0.05 / 0.85, -50 / 150, 40 / 160],
    ]
    assert pytest.approx(np.array(expected)) == G


def test_bounds_of_zero_and_below() -> None:
    values = {"macs": np.array([-3.0, -1.0])}
    G = to_G(values, [Constraint(metric="macs", upper=-2), Constraint(metric="macs", lower=0)])
    assert G.tolist() == [[-0.5, 3.0], [0.5, 1.0]]


def test_chance_constraints_hold_as_often_as_they_say() -> None:
    """Metrics drawn from the estimates' intervals keep to a bound with its probability or more."""
    rng = np.random.default_rng(0)
    mean, std = rng.uniform(4, 10, 400), rng.uniform(0.1, 2, 400)
    half = 1.6448536 * std
    intervals = {"latency_ms@cpu": (mean - half, mean + half)}
    drawn = mean[:, None] + std[:, None] * rng.standard_normal((400, 4000))
    for probability in (0.5, 0.8, 0.95, 0.99):
        for bounds, holds in (({"upper": 8}, drawn <= 8), ({"lower": 6}, drawn >= 6)):
            bound = Constraint(metric="latency_ms", device="cpu", probability=probability, **bounds)
            feasible = to_G({"latency_ms@cpu": mean}, [bound], intervals)[:, 0] <= 0
            share = holds.mean(axis=1)
            assert 50 < feasible.sum() < 350
            assert share[feasible].min() >= probability - 0.03
            assert share[~feasible].max() <= probability + 0.03


def test_what_is_certain_is_compared_as_it_is() -> None:
    bound = Constraint(metric="accuracy", lower=0.85, probability=0.99)
    plain = Constraint(metric="accuracy", lower=0.85)
    assert np.array_equal(to_G(METRIC_VALUES, [bound]), to_G(METRIC_VALUES, [plain]))


def test_no_constraints() -> None:
    assert to_G(METRIC_VALUES, []).shape == (2, 0)


def test_missing_column() -> None:
    message = "energy_mj@cpu was not evaluated; there are: accuracy, latency_ms@cpu, macs"
    with pytest.raises(InputError, match=message):
        to_F(METRIC_VALUES, [Objective(metric="energy_mj", device="cpu")])


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, nas.objectives, nas.pareto, nas.search.registry\n"
        "print(*({'jax', 'flax', 'pandas', 'ray', 'scipy', 'yaml'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_a_devices_view_has_its_objectives_and_those_of_none() -> None:
    accuracy, macs = Objective(metric="accuracy"), Objective(metric="macs")
    on = [Objective(metric="latency_ms", device=name) for name in ("cpu", "orin")]
    assert views([accuracy, on[0], macs, on[1]]) == {"cpu": [0, 1, 2], "orin": [0, 2, 3]}
    assert views([accuracy, macs]) == {"": [0, 1]}
