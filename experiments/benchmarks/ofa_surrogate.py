"""Once-for-All's MobileNetV3 sub-networks on ImageNet: a surrogate of published accuracies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from search_spaces.choices import Choices
from search_spaces.errors import InputError
from search_spaces.space import Archs

_RIDGE = 3.0


@dataclass(frozen=True)
class Surrogate:
    """Top-1 and MACs of any sub-network.

    Args:
        space: kernel, expansion and depth knobs as the files name them.
        top1_weights: of the features, in percent.
        macs_weights: of the features.
        macs_error: largest relative error of the MACs on the files' networks.
        top1_rmse: of ten-fold cross-validation, in percentage points.
        networks: distinct ones that it is fitted to.
    """

    space: Choices
    top1_weights: Float[np.ndarray, " f"]
    macs_weights: Float[np.ndarray, " f"]
    macs_error: float
    top1_rmse: float
    networks: int

    def evaluate(self, archs: Archs) -> Float[np.ndarray, "n 2"]:
        """Minus the top-1 in percent, and million MACs: both to be minimised."""
        x = _features(self.space, archs)
        return np.stack([-(x @ self.top1_weights), x @ self.macs_weights / 1e6], axis=1)


def fit_surrogate(data: Path) -> Surrogate:
    """Ridge regression on the masked one-hot and kernel x expansion of each block, on all runs.

    Raises:
        InputError: no files, or columns that are not there.
    """
    files = sorted((data / "ofa_mbv3_accuracy").glob("*.parquet"))
    if not files:
        raise InputError(f"--data {data}: no ofa_mbv3_accuracy/*.parquet")
    frame = pd.concat([pd.read_parquet(file) for file in files])
    space, archs = _space(frame)
    # Networks that were evaluated several times have their mean.
    archs, first, group = np.unique(archs, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    top1 = np.bincount(group, frame["top1"].to_numpy(float)) / np.bincount(group)
    macs = frame["macs"].to_numpy(float)[first]
    x = _features(space, archs)
    macs_weights = np.linalg.lstsq(x, macs, rcond=None)[0]
    error = float(np.abs(x @ macs_weights / macs - 1).max())
    fold = np.random.default_rng(0).permutation(len(x)) % 10
    residuals = [
        top1[fold == i] - x[fold == i] @ _ridge(x[fold != i], top1[fold != i]) for i in range(10)
    ]
    rmse = float(np.sqrt(np.mean(np.concatenate(residuals) ** 2)))
    return Surrogate(space, _ridge(x, top1), macs_weights, error, rmse, len(x))


def _space(frame: pd.DataFrame) -> tuple[Choices, Archs]:
    depths = [c for c in frame.columns if c.startswith("d_")]
    kernels = [c for c in frame.columns if c.startswith("ks_")]
    per_stage = len(kernels) // len(depths)

    def values(column: str) -> tuple[int, ...]:
        return tuple(np.unique(frame[column].to_numpy(np.int64)).tolist())

    options = {c: values(c) for c in depths}
    when = {}
    for i, kernel in enumerate(kernels):
        stage, block = divmod(i, per_stage)
        for name in (kernel, f"e_{i}"):
            options[name] = values(name)
            deep = tuple(d for d in options[depths[stage]] if d > block)
            if len(deep) < len(options[depths[stage]]):
                when[name] = {depths[stage]: deep}
    space = Choices(options, when)
    entries = [
        np.searchsorted(np.array(own), frame[name].to_numpy()) for name, own in options.items()
    ]
    return space, space.canonical(np.stack(entries, axis=1))


def _features(space: Choices, archs: Archs) -> Float[np.ndarray, "n f"]:
    """Constant, masked one-hot, and for each block the products of its kernel's and expansion's."""
    onehot = space.onehot(space.canonical(archs)).astype(float)
    start = np.concatenate([[0], np.cumsum(space.cardinality)])
    column = {knob.name: onehot[:, start[i] : start[i + 1]] for i, knob in enumerate(space.knobs)}
    pairs = [
        (column[name][:, :, None] * column[f"e_{name[3:]}"][:, None, :]).reshape(len(archs), -1)
        for name in column
        if name.startswith("ks_")
    ]
    return np.concatenate([np.ones((len(archs), 1)), onehot, *pairs], axis=1)


def _ridge(x: Float[np.ndarray, "n f"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " f"]:
    """Weights with the constant, the first, left free."""
    penalty = _RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9
    return np.linalg.solve(x.T @ x + penalty, x.T @ y)
