"""All that a report shows, as plain data: gathered in `nas.ui.gather`, drawn in `nas.ui.report`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from nas.objectives import Constraint, Objective
from nas.pareto import mean_hypervolume


@dataclass(frozen=True)
class Number:
    """A number with where it comes from (`measured`, `predicted` …) and its bounds, if any."""

    value: float
    source: str
    lower: float = float("nan")
    upper: float = float("nan")


@dataclass(frozen=True)
class Network:
    """A network of the front.

    Args:
        trial: its id in the run.
        choices: the architecture in words.
        predicted: what the search knew of it, by column.
        measured: what the verification found, by column; empty where it was not verified.
    """

    trial: int
    choices: Mapping[str, Any]
    predicted: Mapping[str, Number]
    measured: Mapping[str, Number] = field(default_factory=dict)

    @property
    def either(self) -> Mapping[str, Number]:
        """What is known of it: measured where it was, else predicted."""
        return {**self.predicted, **self.measured}


@dataclass(frozen=True)
class Comparison:
    """Estimates beside measurements of the same networks.

    Args:
        column: the metric, such as `latency_ms@cpu`.
        networks: which networks these are in words, such as `verified networks`.
        predicted: the estimates.
        measured: the measurements.
        lower: lower bounds of the estimates, NaN where there are none.
        upper: upper bounds.
        labels: a name for each network, such as its trial id.
        source: of the measurements: `estimated` where a compiler stands in for the device.
    """

    column: str
    networks: str
    predicted: Float[np.ndarray, " n"]
    measured: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    labels: Sequence[str]
    source: str = "measured"


@dataclass(frozen=True)
class Progress:
    """Hypervolume as a search went on.

    Args:
        algorithm: as the reader knows it.
        evaluations: networks evaluated so far.
        hypervolume: of the feasible ones among them.
    """

    algorithm: str
    evaluations: Int[np.ndarray, " p"]
    hypervolume: Float[np.ndarray, " p"]


@dataclass(frozen=True)
class TableFacts:
    """What a device's latency table knows of the space.

    Args:
        device: its id.
        needed: distinct units that the space can emit.
        measured: how many of them the table holds.
        networks: whole networks measured, from which the correction is fitted.
        missing: keys of the units that it does not hold.
        provenance: host, processor, runtime, date … of its sessions, newest last.
        source: how the units came by their values.
        interpolated: units that it does not hold and that others gave.
        interpolation_error: mean relative error of that for units that it holds.
    """

    device: str
    needed: int
    measured: int
    networks: int
    missing: Sequence[str]
    provenance: Sequence[Mapping[str, Any]]
    source: str = "measured"
    interpolated: int = 0
    interpolation_error: float = float("nan")


@dataclass(frozen=True)
class ReportData:
    """A run as its report shows it.

    Args:
        name: of the run.
        objectives: in the run's order.
        networks: the front that the search found, and all verified networks.
        evaluated: objective values of evaluated networks by column, a background for the front.
        n_evaluated: how many networks the search evaluated (`evaluated` may hold fewer).
        comparisons: predicted against measured.
        predictors: `FitReport.to_dict()` of each predictor by metric.
        held_out: by metric, what the predictor said of labels that it had not seen.
        tables: of each device.
        progress: of the search and of random search beside it.
        seconds: duration of each stage.
        environment: machine and versions.
        config: the resolved experiment, YAML.
        constraints: that all networks of the front meet.
    """

    name: str
    objectives: Sequence[Objective]
    networks: Sequence[Network]
    evaluated: Mapping[str, Float[np.ndarray, " e"]]
    n_evaluated: int
    comparisons: Sequence[Comparison]
    predictors: Mapping[str, Mapping[str, Any]]
    held_out: Mapping[str, Comparison]
    tables: Sequence[TableFacts]
    progress: Sequence[Progress]
    seconds: Mapping[str, float]
    environment: Mapping[str, Any]
    config: str
    constraints: Sequence[Constraint] = ()

    @property
    def verified(self) -> list[Network]:
        """The networks that were measured."""
        return [network for network in self.networks if network.measured]


def progress(
    algorithm: str,
    F: Float[np.ndarray, "n m"],
    G: Float[np.ndarray, "n c"],
    reference: Float[np.ndarray, " m"],
    views: Collection[Sequence[int]],
    points: int = 40,
) -> Progress:
    """The hypervolume after growing shares of the evaluations.

    Args:
        algorithm: as the reader knows it.
        F: objectives in order of evaluation.
        G: constraints, feasible where all are <= 0.
        reference: worst corner, the same for all that are compared.
        views: positions of the objectives of each device's front; the volume is their mean.
        points: about how many points the curve has.
    """
    counts = np.unique(np.linspace(1, len(F), min(points, len(F))).astype(np.int64))
    feasible = np.all(G <= 0, axis=1)
    volumes = [mean_hypervolume(F[:count][feasible[:count]], reference, views) for count in counts]
    return Progress(algorithm, counts, np.array(volumes, float))


_TITLES = {
    "accuracy": ("accuracy", "%", 100.0),
    "test_accuracy": ("test accuracy", "%", 100.0),
    "accuracy_int8": ("accuracy in 8 bits", "%", 100.0),
    "test_accuracy_int8": ("test accuracy in 8 bits", "%", 100.0),
    "accuracy_float32": ("accuracy in float32", "%", 100.0),
    "test_accuracy_float32": ("test accuracy in float32", "%", 100.0),
    "macs": ("multiply-accumulates", "M", 1e-6),
    "params": ("parameters", "k", 1e-3),
    "latency_ms": ("latency", "ms", 1.0),
    "energy_mj": ("energy", "mJ", 1.0),
    "peak_sram_kib": ("peak SRAM", "KiB", 1.0),
    "flash_kib": ("flash", "KiB", 1.0),
}


@dataclass(frozen=True)
class Quantity:
    """How a column's numbers are written: its title, its unit and the factor into that unit."""

    title: str
    unit: str
    factor: float

    def digits(self, value: float) -> str:
        """The number in the unit, to four digits."""
        return f"{value * self.factor:#.4g}".rstrip(".")

    def text(self, value: float) -> str:
        """The number with its unit, to four digits."""
        return f"{self.digits(value)} {self.unit}".strip()

    @property
    def axis(self) -> str:
        """Title of an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def quantity(column: str) -> Quantity:
    """How to write a column; one that is not known is written as it is."""
    metric, _, device = column.partition("@")
    title, unit, factor = _TITLES.get(metric, (metric, "", 1.0))
    return Quantity(f"{title} on {device}" if device else title, unit, factor)
