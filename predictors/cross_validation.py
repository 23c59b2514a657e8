"""Predictors side by side: every label estimated by models that did not see it."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from predictors.base import Predictor
from predictors.labels import as_float64, check_labels, folds, group
from predictors.report import Estimates, Judged, judge
from search_spaces.errors import InputError
from search_spaces.space import Archs

BASELINES = ("ridge", "macs")
Rows = Int[np.ndarray, " _"]


def unseen(
    predictor: Predictor, archs: Archs, y: Float[np.ndarray, " n"], train: Rows, test: Rows
) -> Estimates:
    """What a predictor that learned from some rows says of others: means and spreads."""
    predictor.learn(archs[train], y[train])
    found = predictor.predict(archs[test])
    return found.mean, found.std


def cross_validate(
    create: Mapping[str, Callable[[], Predictor]],
    archs: Archs,
    y: Float[np.ndarray, " n"],
    count: int = 5,
    seed: int = 0,
    watch: Callable[[str, int], None] | None = None,
) -> dict[str, Judged]:
    """Figures of several predictors on all labels, in the same folds.

    Args:
        create: makes each predictor, by name; `ridge` and `macs` are what others are held against.
        archs: labelled architectures.
        y: their labels.
        count: number of folds; equal networks share one.
        seed: of the folds.
        watch: told a predictor's name and the fold that begins.

    Raises:
        InputError: labels that can't be used, fewer than two folds, or too few labels for them.
    """
    first = next(iter(create.values()))()
    groups = group(first.space.onehot(archs))
    check_labels(groups, y)
    distinct = len(np.unique(groups))
    if not 2 <= count <= distinct // 2:
        raise InputError(
            f"folds: must lie between 2 and half of the {distinct} distinct architectures, "
            f"got {count}"
        )
    y, fold = as_float64(y), folds(groups, count, seed)
    estimates: dict[str, Estimates] = {}
    for name, make in create.items():
        mean, std = np.empty(len(y)), np.empty(len(y))
        for i in range(count):
            if watch is not None:
                watch(name, i)
            out = np.flatnonzero(fold == i)
            mean[out], std[out] = unseen(make(), archs, y, np.flatnonzero(fold != i), out)
        estimates[name] = mean, std
    return judge(y, estimates, BASELINES)
