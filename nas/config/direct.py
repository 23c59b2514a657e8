"""The experiment file of a search whose networks the user evaluates: `evaluator:` takes the place
of data, super-network, predictors and devices.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nas.config.schema import SpaceConfig
from nas.objectives import METRICS, Constraint, Objective
from nas.search import registry
from nas.search.base import FidelitySearch
from search_spaces.space import SearchSpace

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
_TARGET = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
_Name = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.@-]*$", description="As the evaluator names it.")


class PythonEvaluatorConfig(BaseModel):
    """A function of the user's own that evaluates an architecture."""

    model_config = _STRICT

    type: Literal["python"]
    target: str = Field(
        pattern=_TARGET,
        description="`package.module:function`, importable from the folder that `nas` is started "
        "in. It is given an architecture's choices by knob name and returns its metrics by name, "
        "or None where it can't be evaluated. The same choices must give the same metrics. One "
        "with an argument `fidelity` is given the share of a full evaluation as well.",
    )


class TableEvaluatorConfig(BaseModel):
    """A table of architectures that were evaluated before, replayed."""

    model_config = _STRICT

    type: Literal["table"]
    file: str = Field(description="CSV or parquet; a row an architecture, columns named as knobs.")
    seconds: str | None = Field(
        default=None, description="Column with the seconds that an evaluation took."
    )


EvaluatorConfig = PythonEvaluatorConfig | TableEvaluatorConfig


class OwnObjective(Objective, frozen=True):
    """A metric that the evaluator returns."""

    metric: str = _Name
    device: None = None

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        return metric

    @model_validator(mode="after")
    def _device_where_needed(self) -> "OwnObjective":
        if self.metric not in METRICS and "goal" not in self.model_fields_set:
            raise ValueError(f"{self.metric} needs a goal: add `goal: min` or `goal: max`")
        return self


class OwnConstraint(Constraint, frozen=True, validate_by_name=True, validate_by_alias=True):
    """Bounds on a metric that the evaluator returns."""

    metric: str = _Name
    device: None = None

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        return metric

    @model_validator(mode="after")
    def _device_where_needed(self) -> "OwnConstraint":
        return self

    @model_validator(mode="after")
    def _in_range(self) -> "OwnConstraint":
        # An accuracy of the user's own may be in percent.
        return self

    @model_validator(mode="after")
    def _spread_known(self) -> "OwnConstraint":
        if self.probability is not None:
            raise ValueError(
                f"an evaluator gives {self.metric} without a spread: remove `probability`"
            )
        return self


class DirectSearchConfig(BaseModel):
    """How architectures are proposed."""

    model_config = _STRICT

    type: str = Field(default="auto", description="Search algorithm; docs/search.md lists them.")
    evaluations: int = Field(
        default=100,
        ge=1,
        description="Architectures in all; of successive_halving, as many full evaluations' worth.",
    )
    batch: int = Field(default=5, ge=1, description="Architectures proposed at a time.")
    sampler: str | None = Field(
        default=None, description="Of optuna: tpe (the default), gp or nsga3."
    )
    eta: int | None = Field(
        default=None,
        description="Of successive_halving: one in so many goes on to the next rung, which costs "
        "so many times as much; 3 by default.",
    )
    rungs: int | None = Field(
        default=None, description="Of successive_halving: fidelities in all; 3 by default."
    )

    def create(self, space: SearchSpace, seed: int) -> FidelitySearch:
        """The algorithm.

        Raises:
            InputError: an unknown one, or a parameter that it does not have, as `key: what`.
        """
        own = {"sampler": self.sampler, "eta": self.eta, "rungs": self.rungs}
        given = {name: value for name, value in own.items() if value is not None}
        return registry.create_any(self.type, space, seed, **given)


class DirectExperiment(BaseModel):
    """An experiment with an evaluator of the user's own."""

    model_config = _STRICT

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="Names the run's folder.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of everything random in the run.")
    space: SpaceConfig
    evaluator: EvaluatorConfig = Field(discriminator="type")
    objectives: tuple[OwnObjective, ...] = Field(
        min_length=1, description="What a front is made of."
    )
    constraints: tuple[OwnConstraint, ...] = Field(
        default=(), description="What every result must meet."
    )
    search: DirectSearchConfig = DirectSearchConfig()
