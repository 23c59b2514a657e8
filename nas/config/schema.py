"""The experiment file: what can be said in it, and the defaults.

The descriptions here are what an editor shows (`experiment.schema.json`, made from these models).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from nas.config.document import Location
from nas.data.config import DataConfig
from nas.objectives import Constraint, Objective, views
from nas.search.registry import partial_names
from search_spaces import registry
from search_spaces.named import did_you_mean
from search_spaces.space import SearchSpace

# The exact hypervolumes of a report take seconds for so many; for one more a hundred times that.
_MOST_OBJECTIVES = 5
_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SpaceConfig(BaseModel):
    """Which networks are searched: a space by name and its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field(description="Name of the space; `nas spaces` lists them with parameters.")

    @property
    def parameters(self) -> dict[str, Any]:
        """All keys but `type`: fields of the space's dataclass."""
        return dict(self.model_extra or {})

    def create(self) -> SearchSpace:
        """The space.

        Raises:
            InputError: an unknown space or parameter, one problem a line as `key: what`.
        """
        return registry.create(self.type, **self.parameters)


class SupernetConfig(BaseModel):
    """How the network that contains all others is trained."""

    model_config = _STRICT

    epochs: int = Field(gt=0, le=1_000_000, description="Passes over the training images.")
    method: Literal["sandwich"] = Field(
        default="sandwich",
        description="Sandwich: largest, smallest and random sub-networks in every step.",
    )
    batch: int = Field(default=128, gt=0, description="Images a step.")
    learning_rate: float = Field(
        default=2e-3, gt=0, description="Peak of the cosine schedule, reached after the warm-up."
    )
    warmup_epochs: float = Field(
        default=1.0, ge=0, description="Epochs of linear warm-up, at most `epochs`."
    )
    weight_decay: float = Field(
        default=1e-4, ge=0, description="Decay of the weights, not of norms."
    )
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="Share spread over all classes."
    )
    distill: bool = Field(
        default=True, description="Smaller sub-networks learn from the largest one."
    )
    random_subnets: int = Field(default=2, ge=0, le=100, description="Random sub-networks a step.")
    ema: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="What a step leaves of the averaged weights; 0 is off. Left out: 0.999, or "
        "less where the average would reach back beyond the last eighth of the training.",
    )

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_epochs > self.epochs:
            message = f"must be at most epochs: the warm-up lasts {self.warmup_epochs:g} epochs, "
            message += f"the training {self.epochs}"
            raise _located([(("warmup_epochs",), message)])
        return self


# Predictors that have a key of `AccuracyPredictorConfig`.
_TRAINED = {"loss": ("graph_transformer", "mlp_ensemble"), "pretrain": ("graph_transformer",)}


class AccuracyPredictorConfig(BaseModel):
    """What estimates the accuracy of the architectures that are not evaluated."""

    model_config = _STRICT

    type: Literal[
        "auto", "boosting", "gaussian_process", "graph_transformer", "mlp_ensemble", "ridge"
    ] = Field(
        default="auto",
        description="Kind of model; auto keeps the one that orders unseen labels best.",
    )
    samples: int = Field(
        default=300, ge=10, le=1_000_000, description="Sub-networks evaluated to fit and test it."
    )
    holdout: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the samples that only the report sees."
    )
    zero_cost: tuple[
        Literal["fisher", "grad_norm", "grasp", "jacob_cov", "naswot", "snip", "synflow", "zen"],
        ...,
    ] = Field(
        default=(),
        description="Figures of untrained networks that it sees as well; every network that is "
        "estimated then costs some gradients.",
    )

    loss: Literal["mse", "pairwise", "diffkendall"] | None = Field(
        default=None,
        description="What the networks of graph_transformer and mlp_ensemble are trained on: "
        "labels (mse, the default), or their order.",
    )
    pretrain: bool = Field(
        default=False,
        description="Whether the networks of graph_transformer first learn the descriptors of "
        "architectures without labels.",
    )

    @property
    def training(self) -> dict[str, Any]:
        """What is not left to the predictor, as its parameters."""
        given = {"loss": self.loss, "pretrain": self.pretrain}
        return {key: value for key, value in given.items() if value}

    @model_validator(mode="after")
    def _is_trained(self) -> Self:
        problems: list[tuple[Location, str]] = []
        for key, types in _TRAINED.items():
            if key in self.training and self.type not in types:
                message = f"{self.type} has none; leave it out, or take type: {types[0]}"
                problems.append(((key,), message))
        if problems:
            raise _located(problems)
        return self

    @model_validator(mode="after")
    def _sees_features(self) -> Self:
        if self.zero_cost and self.type in ("mlp_ensemble", "ridge"):
            message = f"{self.type} sees choices only; leave it out, or take type: auto"
            raise _located([(("zero_cost",), message)])
        return self


class PredictorsConfig(BaseModel):
    """The predictors of a run."""

    model_config = _STRICT

    accuracy: AccuracyPredictorConfig = AccuracyPredictorConfig()


class SearchConfig(BaseModel):
    """How architectures are proposed."""

    model_config = _STRICT

    type: Literal[
        "auto",
        "linas",
        "local_search",
        "moead",
        "nsga2",
        "nsga3",
        "random",
        "regularised_evolution",
    ] = Field(
        default="nsga2", description="Search algorithm; of estimates, which cost nothing, NSGA-II."
    )
    population: int = Field(
        default=96, ge=4, le=1_000_000, description="Architectures a generation."
    )
    evaluations: int = Field(
        default=5000,
        ge=4,
        le=100_000_000,
        description="Architectures in all, duplicates not counted.",
    )

    @field_validator("type", mode="before")
    @classmethod
    def _for_estimates(cls, name: Any) -> Any:
        if name in partial_names():
            raise ValueError(
                f"{name} spends partial evaluations, and estimates cost nothing: it is for runs "
                "with `evaluator: {type: python}`; take another type"
            )
        return name

    @model_validator(mode="after")
    def _one_generation_fits(self) -> Self:
        if self.population > self.evaluations:
            message = f"must be at most evaluations: {self.population} are more than "
            message += str(self.evaluations)
            raise _located([(("population",), message)])
        return self


class EvaluationConfig(BaseModel):
    """How a sub-network with inherited weights is evaluated."""

    model_config = _STRICT

    validation_images: int | None = Field(
        default=None, gt=0, description="Validation images used; all where not given."
    )
    calibration_images: int = Field(
        default=1024,
        gt=0,
        description="Training images that set a sub-network's batch-norm statistics.",
    )
    statistics: Literal["calibrated", "batch"] = Field(
        default="calibrated",
        description="Statistics for the labels of the accuracy predictor: calibrated on training "
        "images, or, at less cost, those of each validation batch. The front is always calibrated.",
    )


class VerifyConfig(BaseModel):
    """What is measured for real at the end of a run."""

    model_config = _STRICT

    top: int = Field(
        default=8,
        gt=0,
        description="Networks that are measured and tested: of the front of estimates first, then "
        "those that are next to it.",
    )


class ExportConfig(BaseModel):
    """What a run writes of its verified networks."""

    model_config = _STRICT

    to: Literal["onnx", "onnx-int8", "c", "tflite"] = Field(
        default="onnx",
        description="File format; c and tflite are for microcontrollers, tflite for NPUs too.",
    )
    top: int = Field(
        default=1, ge=0, description="Most accurate verified networks that are exported."
    )


class Experiment(BaseModel):
    """An experiment: a space, data, devices and what is wanted of the networks."""

    model_config = _STRICT

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="Names the run's folder.",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Of everything random in the run.")
    space: SpaceConfig
    data: DataConfig
    supernet: SupernetConfig
    predictors: PredictorsConfig = PredictorsConfig()
    devices: tuple[str, ...] = Field(
        min_length=1, description="What the networks run on; `nas devices` lists them."
    )
    allow_interpolation: bool = Field(
        default=False,
        description="Estimate blocks that a device's table lacks from those that it has.",
    )
    objectives: tuple[Objective, ...] = Field(min_length=1, description="What a front is made of.")
    constraints: tuple[Constraint, ...] = Field(
        default=(), description="What every result must meet."
    )
    search: SearchConfig = SearchConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    verify: VerifyConfig = VerifyConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        wanted = [
            ((group, i, "device"), item.device)
            for group in ("objectives", "constraints")
            for i, item in enumerate(getattr(self, group))
        ]
        problems = device_problems(self.devices, wanted)
        columns = [objective.column for objective in self.objectives]
        problems += [
            (("objectives", i), f"{column} is an objective already")
            for i, column in enumerate(columns)
            if column in columns[:i]
        ]
        for device, own in views(self.objectives).items():
            if len(own) > _MOST_OBJECTIVES:
                message = (
                    f"{len(own)} objectives are too many{f' for {device}' if device else ''}: "
                )
                message += f"at most {_MOST_OBJECTIVES}, its own and those of no device; make "
                message += "constraints of the others"
                problems.append((("objectives", own[_MOST_OBJECTIVES]), message))
        if problems:
            raise _located(problems)
        return self


def device_problems(
    devices: Sequence[str], wanted: Iterable[tuple[Location, str | None]]
) -> list[tuple[Location, str]]:
    """What is wrong across the keys: a device given twice, or used without being listed.

    Args:
        devices: as listed.
        wanted: where a device is used, and which.

    Returns:
        Where and what.
    """
    problems: list[tuple[Location, str]] = [
        (("devices", i), f"{device!r} is listed twice")
        for i, device in enumerate(devices)
        if device in devices[:i]
    ]
    for location, device in wanted:
        if device is not None and device not in devices:
            hint = did_you_mean(device, devices) or f"; listed: {', '.join(devices)}"
            problems.append((location, f"device {device!r} is not in devices{hint}"))
    return problems


def _located(problems: Sequence[tuple[Location, str]]) -> ValidationError:
    """An error that names the keys at fault, which a ValueError in a validator can't."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("keys_disagree", "{message}", {"message": message}),
            loc=location,
            input=None,
        )
        for location, message in problems
    ]
    return ValidationError.from_exception_data("experiment", details)
