"""What a search optimises and what it must keep to, and the matrices F and G made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float, Num
from pydantic import BaseModel, Field, FiniteFloat, field_validator, model_validator

from hw_profiles.intervals import Z_90
from search_spaces.errors import InputError
from search_spaces.named import hint

Goal = Literal["min", "max"]
# Ends of the 90 % interval of every column that has one.
Intervals = Mapping[str, tuple[Num[np.ndarray, " n"], Num[np.ndarray, " n"]]]


@dataclass(frozen=True)
class Metric:
    """A figure that every evaluated architecture has.

    Args:
        goal: the direction that one usually wants.
        per_device: whether it has a value for each device.
        uncertain: whether its estimates have intervals; else it is counted.
    """

    goal: Goal
    per_device: bool
    uncertain: bool = False


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("max", per_device=False, uncertain=True),
    "macs": Metric("min", per_device=False),
    "params": Metric("min", per_device=False),
    "latency_ms": Metric("min", per_device=True, uncertain=True),
    "energy_mj": Metric("min", per_device=True, uncertain=True),
    "peak_sram_kib": Metric("min", per_device=True),
    "flash_kib": Metric("min", per_device=True),
}


# Of the RAM and flash of a microcontroller or an NPU.
MEMORY = ("peak_sram_kib", "flash_kib")


class _Measured(BaseModel, frozen=True, extra="forbid"):
    """A metric, on a device where it depends on one."""

    metric: str
    device: str | None = None

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"unknown metric {metric!r}; {hint(metric, METRICS)}")
        return metric

    @model_validator(mode="after")
    def _device_where_needed(self) -> Self:
        if METRICS[self.metric].per_device and not self.device:
            raise ValueError(f"{self.metric} needs a device: add `device: cpu` or another")
        if self.device and not METRICS[self.metric].per_device:
            raise ValueError(f"{self.metric} is the same on all devices: remove `device`")
        return self

    @property
    def column(self) -> str:
        """Name of the metric's column in results: `accuracy`, `latency_ms@cpu`."""
        return f"{self.metric}@{self.device}" if self.device else self.metric


class Objective(_Measured, frozen=True):
    """A metric to minimise or maximise.

    Example:
        >>> Objective(metric="accuracy").goal
        'max'
        >>> Objective(metric="latency_ms", device="cpu").column
        'latency_ms@cpu'
    """

    # A factory keeps "min" out of the JSON schema, where it would be wrong for accuracy.
    goal: Goal = Field(default_factory=lambda: "min", description="default: the metric's usual one")

    @model_validator(mode="before")
    @classmethod
    def _usual_goal(cls, data: Any) -> Any:
        known = isinstance(data, dict) and data.get("metric") in tuple(METRICS)
        return {"goal": METRICS[data["metric"]].goal, **data} if known else data


class Constraint(_Measured, frozen=True, validate_by_name=True, validate_by_alias=True):
    """Bounds on a metric, in the metric's unit; written `min` and `max` in YAML.

    With a probability it is a chance constraint: each bound has to hold with that probability by
    the estimate's 90 % interval, taken as that of a normal distribution.

    Example:
        >>> Constraint(metric="latency_ms", device="cpu", upper=8).upper
        8.0
        >>> round(Constraint(metric="accuracy", lower=0.9, probability=0.95).margin, 3)
        1.0
    """

    # Not `alias`, which type checkers take for the name of the argument.
    lower: FiniteFloat | None = Field(
        default=None, validation_alias="min", serialization_alias="min"
    )
    upper: FiniteFloat | None = Field(
        default=None, validation_alias="max", serialization_alias="max"
    )
    probability: float | None = Field(
        default=None,
        ge=0.5,
        lt=1,
        description="What each bound holds with, by the interval of the estimate; without it the "
        "estimate itself is compared.",
    )

    @model_validator(mode="after")
    def _spread_known(self) -> Self:
        if self.probability is not None and not METRICS[self.metric].uncertain:
            raise ValueError(f"{self.metric} is counted and has no spread: remove `probability`")
        return self

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        bounds = [bound for bound in (self.lower, self.upper) if bound is not None]
        if self.metric == "accuracy" and not all(0 <= bound <= 1 for bound in bounds):
            raise ValueError("accuracy is a share from 0 to 1: write 0.9 for 90 %")
        return self

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError(f"the constraint on {self.column} needs `min` or `max`")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(
                f"no {self.column} is at least {self.lower:g} and at most {self.upper:g}: "
                "raise `max` or lower `min`"
            )
        return self

    @property
    def margin(self) -> float:
        """How far from the estimate a bound has to be, in half-widths of its 90 % interval."""
        return 0.0 if self.probability is None else NormalDist().inv_cdf(self.probability) / Z_90


def views(objectives: Sequence[Objective]) -> dict[str, list[int]]:
    """What each device's own front is made of: the objectives of no device, and its own.

    Returns:
        by device, in their order of appearance, positions in `objectives`; one entry, named "",
        where no objective has a device.
    """
    devices = list(dict.fromkeys(o.device for o in objectives if o.device)) or [""]
    return {
        device: [i for i, o in enumerate(objectives) if o.device in (None, device)]
        for device in devices
    }


def to_F(  # noqa: N802 (the name of the matrix)
    metrics: Mapping[str, Num[np.ndarray, " n"]], objectives: Sequence[Objective]
) -> Float[np.ndarray, "n m"]:
    """Objectives as a matrix to minimise; what is maximised changes its sign.

    Args:
        metrics: one array a column, by `Objective.column`.
        objectives: one column of F each.

    Raises:
        InputError: a column is missing.
    """
    columns = [
        _column(metrics, objective) * (-1.0 if objective.goal == "max" else 1.0)
        for objective in objectives
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((_length(metrics), 0))


def to_G(  # noqa: N802 (the name of the matrix)
    metrics: Mapping[str, Num[np.ndarray, " n"]],
    constraints: Sequence[Constraint],
    intervals: Intervals | None = None,
) -> Float[np.ndarray, "n c"]:
    """Constraints as a matrix that is feasible where all is <= 0.

    Each entry is the excess over a bound relative to the bound's magnitude (absolute for a bound of
    0), so that excesses in milliseconds and in kibibytes can be added up.

    Args:
        metrics: one array a column, by `Constraint.column`.
        constraints: one column of G for each bound, lower before upper.
        intervals: ends of the 90 % interval of what is estimated, by `Constraint.column`. What
            has none was measured or counted: it is compared as it is, whatever the probability.

    Raises:
        InputError: a column is missing.
    """
    columns = []
    for constraint in constraints:
        value = _column(metrics, constraint)
        low, high = (intervals or {}).get(constraint.column, (value, value))
        room = constraint.margin * (high - low) / 2 if constraint.margin else 0.0
        if constraint.lower is not None:
            columns.append((constraint.lower - value + room) / (abs(constraint.lower) or 1.0))
        if constraint.upper is not None:
            columns.append((value + room - constraint.upper) / (abs(constraint.upper) or 1.0))
    return np.stack(columns, axis=1) if columns else np.zeros((_length(metrics), 0))


def _column(
    metrics: Mapping[str, Num[np.ndarray, " n"]], measured: _Measured
) -> Float[np.ndarray, " n"]:
    if measured.column not in metrics:
        raise InputError(
            f"{measured.column} was not evaluated; there are: {', '.join(metrics) or 'no columns'}"
        )
    return np.asarray(metrics[measured.column], np.float64)


def _length(metrics: Mapping[str, Num[np.ndarray, " n"]]) -> int:
    return len(next(iter(metrics.values()), ()))
