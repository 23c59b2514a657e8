"""The report of a fit: the model beside its two baselines, on labels that none of them saw."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from predictors import bootstrap, metrics
from predictors.bootstrap import Interval

TOP = 10
_TITLES = {
    "kendall": "kendall",
    "spearman": "spearman",
    "rmse": "rmse",
    "within_5pct": "in 5 %",
    "within_10pct": "in 10 %",
    "coverage_90": "in 90 % interval",
    "half_width_90": "its half-width",
    "regret_top10": "top-10 regret",
}
_SHARES = ("within_5pct", "within_10pct", "coverage_90")

Vector = Float[np.ndarray, " n"]
# Mean and standard deviation of each label's estimate.
Estimates = tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]


@dataclass(frozen=True)
class Scores:
    """Figures of one model on held-out labels.

    Args:
        kendall: Kendall's tau.
        spearman: Spearman's rank correlation.
        rmse: root mean squared error, in the units of the labels.
        within_5pct: share of estimates within 5 % of the label.
        within_10pct: share of estimates within 10 % of the label.
        coverage_90: share of labels inside the central 90 % interval.
        half_width_90: mean half-width of these intervals, in the units of the labels.
        regret_top10: how far the best of the 10 highest estimates lies below the best label.
    """

    kendall: float
    spearman: float
    rmse: float
    within_5pct: float
    within_10pct: float
    coverage_90: float
    half_width_90: float
    regret_top10: float


@dataclass(frozen=True)
class Judged:
    """Figures of one model, and how far they would move with other networks to test on.

    Args:
        scores: the figures.
        intervals: of each figure by name, the ends of its 95 % bootstrap interval.
        kendall_over: by baseline, the ends of the 95 % interval of how much larger the model's
            Kendall tau is on the same resamples; a gain where both are positive.
    """

    scores: Scores
    intervals: Mapping[str, Interval]
    kendall_over: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, intervals beside them."""
        bounds = {"intervals": dict(self.intervals), "kendall_over": dict(self.kendall_over)}
        return {**asdict(self.scores), **bounds}


@dataclass(frozen=True)
class HeldOut:
    """Labels that the scored models did not see, and what the predictor said of them.

    Args:
        rows: their numbers among the labels that were given.
        label: the labels.
        mean: the estimates.
        std: their spread.
    """

    rows: Int[np.ndarray, " n"]
    label: Vector
    mean: Vector
    std: Vector


@dataclass(frozen=True)
class FitReport:
    """A predictor and its baselines, judged on the same held-out architectures.

    Args:
        n_train: number of labels that the scored models learned from.
        held_out: the labels that they were tested on; no architecture is in both parts.
        judged: `model`, `ridge` on the masked one-hot, and `macs`, a line in log MACs, where MACs
            were given.
    """

    n_train: int
    held_out: HeldOut
    judged: Mapping[str, Judged]

    @property
    def n_test(self) -> int:
        """Number of held-out labels."""
        return len(self.held_out.label)

    @property
    def model(self) -> Scores:
        """Of the predictor."""
        return self.judged["model"].scores

    @property
    def ridge(self) -> Scores:
        """Of ridge regression on the masked one-hot."""
        return self.judged["ridge"].scores

    @property
    def macs(self) -> Scores | None:
        """Of the line in log MACs; None where no MACs were given."""
        return self.judged["macs"].scores if "macs" in self.judged else None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able nested dictionaries."""
        return {
            "n_train": self.n_train,
            "n_test": self.n_test,
            **{name: judged.to_dict() for name, judged in self.judged.items()},
            "held_out": {name: values.tolist() for name, values in vars(self.held_out).items()},
        }

    def table(self) -> str:
        """The report as lines of plain text, a row a model."""
        lines = table(self.judged)
        return "\n".join([*lines, f"fitted on {self.n_train}, tested on {self.n_test} held out"])


def table(judged: Mapping[str, Judged]) -> list[str]:
    """Lines of plain text, a row a model with the 95 % intervals below its figures."""
    names = [field.name for field in fields(Scores)]
    rows = [["", *(_TITLES[name] for name in names)]]
    for model, found in judged.items():
        scores = asdict(found.scores)
        rows.append([model, *(_shown(name, scores[name]) for name in names)])
        ends = [" .. ".join(_shown(name, e) for e in found.intervals[name]) for name in names]
        rows.append(["", *ends])
    lines = _aligned(rows)
    for model, found in judged.items():
        for baseline, (low, high) in found.kendall_over.items():
            gain = found.scores.kendall - judged[baseline].scores.kendall
            lines.append(
                f"kendall of {model} over {baseline}: {gain:+.3f} ({low:+.3f} .. {high:+.3f})"
            )
    return [*lines, "below each figure and in brackets: 95 % bootstrap intervals"]


def score(y: Vector, mean: Vector, std: Vector) -> Scores:
    """All figures of one model.

    Args:
        y: held-out labels.
        mean: its estimates.
        std: their spread.
    """
    return Scores(
        kendall=metrics.kendall_tau(y, mean),
        spearman=metrics.spearman(y, mean),
        rmse=metrics.rmse(y, mean),
        within_5pct=metrics.within(y, mean, 0.05),
        within_10pct=metrics.within(y, mean, 0.10),
        coverage_90=metrics.coverage(y, mean, std),
        half_width_90=metrics.half_width(std),
        regret_top10=metrics.regret(y, mean, TOP),
    )


def judge(
    y: Vector, estimates: Mapping[str, Estimates], baselines: Sequence[str]
) -> dict[str, Judged]:
    """Figures and intervals of several models on the same labels.

    Args:
        y: labels that none of them saw.
        estimates: what each says of them.
        baselines: names among the models that the others are held against.
    """
    counts = bootstrap.resamples(len(y))
    resampled = {
        name: bootstrap.figures(y, mean, std, TOP, counts)
        for name, (mean, std) in estimates.items()
    }
    return {
        name: Judged(
            score(y, *estimates[name]),
            {key: bootstrap.interval_95(values) for key, values in found.items()},
            {
                baseline: bootstrap.interval_95(found["kendall"] - resampled[baseline]["kendall"])
                for baseline in baselines
                if name not in baselines and baseline in resampled
            },
        )
        for name, found in resampled.items()
    }


def _shown(name: str, value: float) -> str:
    if name in _SHARES:
        return f"{value:.1%}"
    return f"{value:.3f}" if name in ("kendall", "spearman") else f"{value:.4g}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
