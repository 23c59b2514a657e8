"""From scores that only order architectures to labels with an honest interval.

What was trained on the order of labels has no unit. A line takes scores of models that did not see
a label to the normal scores of the labels' ranks, and these lead back to labels (`warp`).
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float64

from predictors.base import Prediction
from predictors.calibration import Spread, fit_spread, least_std, scale_90
from predictors.warp import Warp, rank_warp

Vector = Float64[np.ndarray, " n"]

# Of normal scores, which have unit variance.
_LEAST = 1e-6


@dataclass(frozen=True)
class ScoreScale:
    """The way from scores to labels.

    Args:
        slope: normal scores a score.
        offset: normal score of the score 0.
        warp: from normal scores to labels.
        spread: of normal scores, by the members' disagreement.
        scale: factor that makes the central 90 % interval hold 90 % of unseen labels.
        least: lower limit of the spread of labels.
    """

    slope: float
    offset: float
    warp: Warp
    spread: Spread
    scale: float
    least: float

    def predict(self, score: Vector, disagreement: Vector) -> Prediction:
        """Estimates and spread of labels.

        Args:
            score: means over the members.
            disagreement: variances between members that learned from the same labels.
        """
        mean = self._normal(score)
        # A spread of its own would move an estimate along the bent scale, past better ones.
        usual = self.spread.std(np.full(len(mean), self.spread.typical))
        center = self.warp.to_label_units(mean, usual).mean
        own = self.spread.std(self.slope**2 * disagreement)
        std = self.warp.to_label_units(mean, own).std
        return Prediction(center, np.maximum(self.scale * std, self.least))

    def to_labels(self, scores: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        """Scores as labels, one by one."""
        return self.warp.to_label(self._normal(scores))

    def _normal(self, scores: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        return self.offset + self.slope * scores

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild it."""
        own = {name: getattr(self, name) for name in ("slope", "offset", "scale", "least")}
        parts = {"warp": self.warp, "spread": self.spread}
        for part, holder in parts.items():
            own |= {f"{part}.{f.name}": getattr(holder, f.name) for f in fields(holder)}
        return {name: np.array(value) for name, value in own.items()}


def fit_score_scale(y: Vector, members: Float64[np.ndarray, "m n"]) -> ScoreScale:
    """The scale of labels.

    Args:
        y: the labels.
        members: scores of models, two or more, that did not see the label.
    """
    warp, normal = rank_warp(y)
    score, disagreement = members.mean(0), members.var(0, ddof=1)
    centred = score - score.mean()
    power = float(centred @ centred)
    # Scores that order labels the wrong way round are worth no more than none.
    slope = max(float(centred @ normal) / power, 0.0) if power > 0 else 0.0
    offset = float(normal.mean() - slope * score.mean())
    spread = fit_spread(normal - offset - slope * score, slope**2 * disagreement, _LEAST)
    plain = ScoreScale(slope, offset, warp, spread, 1.0, least_std(y))
    found = plain.predict(score, disagreement)
    return replace(plain, scale=scale_90(y - found.mean, found.std))


def read_score_scale(arrays: dict[str, np.ndarray]) -> ScoreScale:
    """The scale of stored arrays."""
    warp = Warp(arrays["warp.scores"], arrays["warp.labels"])
    names = [f.name for f in fields(Spread)]
    spread = Spread(**{name: arrays[f"spread.{name}"].item() for name in names})
    slope, offset, scale, least = (
        arrays[name].item() for name in ("slope", "offset", "scale", "least")
    )
    return ScoreScale(slope, offset, warp, spread, scale, least)
