"""Ensemble of flow transformers on the graphs of architectures, with a calibrated spread.

Each member leaves one fold of the labels out, and the mean of all is the estimate (Krogh &
Vedelsby, "Neural Network Ensembles, Cross Validation, and Active Learning", NIPS 1994): the
estimates of labels that calibrate it cost no networks of their own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Float32, Float64, Int

from predictors import ensembles
from predictors.base import Extra, MacsOf, Prediction
from predictors.ensembles import Schedule
from predictors.feature_predictor import FeaturePredictor
from predictors.flow_transformer import FlowTransformer
from predictors.labels import folds
from predictors.losses import Loss, check_loss
from predictors.scaling import scaling_of
from predictors.score_scale import ScoreScale, fit_score_scale, read_score_scale
from predictors.tokens import tokens_of
from predictors.warp import normal_scores
from search_spaces.space import Archs, SearchSpace

_FOLDS = 5
# Members for each fold: two tell how far members disagree.
_MEMBERS = 2
_STEPS, _BATCH, _RATE, _DECAY = 200, 64, 5e-3, 1.0
# Architectures without labels, and steps on what is known of them.
_UNLABELLED, _PRETRAINING_STEPS = 2048, 400
# Rows that are evaluated at a time: two compiled programs serve all numbers of them.
_CHUNKS = (128, 2048)
_NETWORK = FlowTransformer()

Inputs = tuple[
    Float32[np.ndarray, "n t f"], Float32[np.ndarray, "n t t"], Float32[np.ndarray, "n s"]
]


@dataclass(frozen=True)
class TransformerModel:
    """A fitted ensemble.

    Args:
        parameters: of the members, stacked on the first axis.
        center: mean score of each member on the labelled architectures.
        unit: standard deviation of these scores.
        scale: from standardised scores to labels.
        encode: architectures to what the networks read.
    """

    parameters: Any
    center: Float64[np.ndarray, " m"]
    unit: Float64[np.ndarray, " m"]
    scale: ScoreScale
    encode: Callable[[Archs], Inputs]

    def predict(self, x: Float[np.ndarray, "n k"]) -> Prediction:
        """Estimates of architectures, which stand in the rows as they are."""
        scores = _evaluate(self.parameters, self.encode, x.astype(np.int64))
        scores = (scores - self.center[:, None]) / self.unit[:, None]
        alike = scores.reshape(_FOLDS, _MEMBERS, len(x))
        return self.scale.predict(scores.mean(0), alike.var(1, ddof=1).mean(0))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything needed to rebuild the model."""
        weights = flatten_dict(self.parameters, sep=".")
        return {
            **{f"members.{name}": np.asarray(value) for name, value in weights.items()},
            **{f"scale.{name}": value for name, value in self.scale.arrays().items()},
            "center": self.center,
            "unit": self.unit,
        }


class GraphTransformer(FeaturePredictor[TransformerModel]):
    """Transformers whose attention follows the flow through the network, on its blocks as tokens.

    Args:
        space: where the architectures come from.
        seed: of the held-out choice, the folds, initial parameters and batches.
        macs: MACs of architectures, for the baseline in the report.
        holdout: share of the labelled architectures that only the report's models don't see.
        extra: further features.
        loss: what members are trained on: the labels' normal scores (`mse`) or their order.
        pretrain: whether encoders first learn the descriptors of architectures without labels.
    """

    type = "graph_transformer"
    sees_extra = True
    # The compiled program spreads its rows over the cores by itself.
    threaded = False

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        macs: MacsOf | None = None,
        holdout: float = 0.2,
        extra: Extra | None = None,
        loss: str = "mse",
        pretrain: bool = False,
    ) -> None:
        super().__init__(space, seed, macs, holdout, extra)
        self.loss: Loss = check_loss(loss)
        self.pretrain = pretrain

    def features(self, archs: Archs) -> Float64[np.ndarray, "n k"]:
        """The architectures themselves."""
        return archs.astype(np.float64)

    def encode(self, archs: Archs) -> Inputs:
        """Tokens, the flow between them, and the descriptors, which the head reads beside."""
        tokens = tokens_of(self.space)(archs)
        known = _columns(self.space, archs)
        if self.extra is not None:
            known = np.concatenate([known, self.extra(archs)], axis=1)
        return tokens.values, tokens.flow, known.astype(np.float32)

    def fit_model(
        self,
        x: Float[np.ndarray, "n k"],
        y: Float64[np.ndarray, " n"],
        groups: Int[np.ndarray, " n"],
    ) -> TransformerModel:
        """Train all members at once, and calibrate on those that did not see a label."""
        archs = x.astype(np.int64)
        fold = folds(groups, _FOLDS, self.seed)
        seen = np.repeat(fold[None, :] != np.arange(_FOLDS)[:, None], _MEMBERS, axis=0)
        inputs = self.encode(archs)
        start = self._pretrained(inputs, len(seen)) if self.pretrain else None
        parameters = jax.tree.map(
            np.asarray,
            ensembles.train(
                _NETWORK,
                inputs,
                normal_scores(y).astype(np.float32),
                seen.astype(np.float32),
                Schedule(_STEPS, _BATCH, _RATE, _DECAY, self.loss),
                self.seed,
                start,
            ),
        )
        scores = _evaluate(parameters, self.encode, archs)
        center, unit = scores.mean(1), np.maximum(scores.std(1), 1e-9)
        scores = (scores - center[:, None]) / unit[:, None]
        own = fold[None, :] * _MEMBERS + np.arange(_MEMBERS)[:, None]
        scale = fit_score_scale(y, np.take_along_axis(scores, own, axis=0))
        return TransformerModel(parameters, center, unit, scale, self.encode)

    def _pretrained(self, inputs: Inputs, members: int) -> Any:
        """Fresh members whose encoders know what architectures are made of."""
        start = ensembles.initial(_NETWORK, inputs, members, self.seed)
        known = _pretrained_encoders(self.space, self.seed)
        copies = jax.tree.map(lambda leaf: np.tile(leaf, (_FOLDS, *[1] * (leaf.ndim - 1))), known)
        return {"params": {**start["params"], "encoder": copies}}

    def read_model(self, arrays: Mapping[str, np.ndarray]) -> TransformerModel:
        """The model of stored arrays."""
        parts: dict[str, dict[str, np.ndarray]] = {"members": {}, "scale": {}, "": {}}
        for name, value in arrays.items():
            part, dot, rest = name.partition(".")
            parts[part if dot else ""][rest if dot else name] = value
        parameters = unflatten_dict(parts["members"], sep=".")
        scale = read_score_scale(parts["scale"])
        return TransformerModel(parameters, **parts[""], scale=scale, encode=self.encode)


def _columns(space: SearchSpace, archs: Archs) -> Float64[np.ndarray, "n f"]:
    """Descriptors, each with about unit variance."""
    groups = scaling_of(space).groups
    return scaling_of(space)(archs) * np.sqrt(np.bincount(groups))[groups][None, :]


@lru_cache(maxsize=4)
def _pretrained_encoders(space: SearchSpace, seed: int) -> Any:
    """Encoders that learned the descriptors of random architectures, one for each of a fold.

    Dai et al., "FBNetV3", CVPR 2021, §3.2: statistics of architectures cost nothing, and an
    embedding that knows them needs fewer labels.
    """
    archs = space.sample(np.random.default_rng(seed), _UNLABELLED)
    tokens, linear = tokens_of(space)(archs), scaling_of(space).linear > 0
    targets = _columns(space, archs)[:, linear].astype(np.float32)
    trained = ensembles.train(
        FlowTransformer(_NETWORK.width, _NETWORK.layers, targets.shape[1]),
        (tokens.values, tokens.flow, np.zeros((len(archs), 0), np.float32)),
        targets,
        np.ones((_MEMBERS, len(archs)), np.float32),
        Schedule(_PRETRAINING_STEPS, _BATCH, _RATE, 0.0),
        seed,
    )
    return jax.tree.map(np.asarray, trained["params"]["encoder"])


def _evaluate(
    parameters: Any, encode: Callable[[Archs], Inputs], archs: Archs
) -> Float64[np.ndarray, "m n"]:
    """Scores of all members for any number of architectures."""
    members = len(jax.tree.leaves(parameters)[0])
    out = np.empty((members, len(archs)))
    size = _CHUNKS[0] if len(archs) <= _CHUNKS[0] else _CHUNKS[-1]
    for start in range(0, len(archs), size):
        inputs = encode(archs[start : start + size])
        rows = len(inputs[0])
        pad = partial(_pad, size=size)
        found = _apply(parameters, jax.tree.map(pad, inputs))
        out[:, start : start + rows] = np.asarray(found)[:, :rows]
    return out


@jax.jit
def _apply(parameters: Any, inputs: Any) -> Float[Array, "m n"]:
    return jax.vmap(lambda member: cast(Array, _NETWORK.apply(member, inputs)))(parameters)


def _pad(rows: Float32[np.ndarray, "n ..."], size: int) -> Float32[np.ndarray, "size ..."]:
    return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)])
