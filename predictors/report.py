"""The report of a fit: the model beside its two baselines, on labels that none of them saw."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from predictors import metrics

TOP = 10


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
        regret_top10: how far the best of the 10 highest estimates lies below the best label.
    """

    kendall: float
    spearman: float
    rmse: float
    within_5pct: float
    within_10pct: float
    coverage_90: float
    regret_top10: float


@dataclass(frozen=True)
class FitReport:
    """Scores of a predictor and of its baselines on the same held-out architectures.

    Args:
        n_train: number of labels that the scored models learned from.
        n_test: number of held-out labels; no architecture is in both parts.
        model: the predictor.
        ridge: ridge regression on the masked one-hot.
        macs: a line in log MACs; None where no MACs were given.
    """

    n_train: int
    n_test: int
    model: Scores
    ridge: Scores
    macs: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able nested dictionaries."""
        return asdict(self)

    def table(self) -> str:
        """The report as lines of plain text, a row a model."""
        rows = {"model": self.model, "ridge": self.ridge, "macs": self.macs}
        head = f"{'':8}{'kendall':>9}{'spearman':>10}{'rmse':>10}{'in 5 %':>8}{'in 10 %':>9}"
        lines = [f"{head}{'in 90 % interval':>18}{'top-10 regret':>15}"]
        for name, s in rows.items():
            if s is not None:
                left = f"{name:8}{s.kendall:9.3f}{s.spearman:10.3f}{s.rmse:10.4g}"
                share = f"{s.within_5pct:8.1%}{s.within_10pct:9.1%}{s.coverage_90:18.1%}"
                lines.append(f"{left}{share}{s.regret_top10:15.4g}")
        return "\n".join([*lines, f"fitted on {self.n_train}, tested on {self.n_test} held out"])


def score(
    y: Float[np.ndarray, " n"], mean: Float[np.ndarray, " n"], std: Float[np.ndarray, " n"]
) -> Scores:
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
        regret_top10=metrics.regret(y, mean, TOP),
    )
