"""Labelled architectures: what is accepted, and how they are split without leaks."""

import numpy as np
from jaxtyping import Float, Float64, Int

from search_spaces.errors import InputError
from search_spaces.space import Archs

LEAST_DISTINCT = 10
_LEAST_TRAIN = 5
_LEAST_TEST = 2


def check_archs(cardinality: Int[np.ndarray, " knobs"], archs: Archs) -> None:
    """Architectures must be of the space.

    Raises:
        InputError: a wrong number of entries, or an entry outside its knob's options.
    """
    if archs.shape[1] != len(cardinality):
        raise InputError(
            f"architectures have {archs.shape[1]} entries, the space has {len(cardinality)} knobs"
        )
    if archs.min(initial=0) < 0 or (archs.max(axis=0, initial=0) >= cardinality).any():
        raise InputError("architectures: entries must lie in [0, cardinality) of their knob")


def check_labels(groups: Int[np.ndarray, " n"], y: Float[np.ndarray, " m"]) -> None:
    """Labels must be usable.

    Raises:
        InputError: all that is wrong: the number, values that are not finite, too few.
    """
    problems = []
    if len(y) != len(groups):
        problems.append(f"labels: {len(y)} for {len(groups)} architectures; give one each")
    if not np.all(np.isfinite(y)):
        bad = int(np.flatnonzero(~np.isfinite(y))[0])
        problems.append(f"labels: entry {bad} is {y[bad]}; leave out failed evaluations")
    distinct = len(np.unique(groups))
    if distinct < LEAST_DISTINCT:
        problems.append(
            f"labels: {distinct} distinct architectures; a predictor needs at least "
            f"{LEAST_DISTINCT}: evaluate more"
        )
    if problems:
        raise InputError(problems)


def group(x: Float[np.ndarray, "n f"]) -> Int[np.ndarray, " n"]:
    """Number of each row's network: rows with equal features are one network."""
    return np.unique(x, axis=0, return_inverse=True)[1]


def hold_out(
    groups: Int[np.ndarray, " n"], share: float, seed: int
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Row numbers for training and for testing; no network is in both.

    Args:
        groups: network of each row, at least `LEAST_DISTINCT` different ones.
        share: of the networks to test on; both parts keep a few in any case.
        seed: of the choice.
    """
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    count = int(np.clip(round(share * len(names)), _LEAST_TEST, len(names) - _LEAST_TRAIN))
    tested = np.isin(groups, names[:count])
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def folds(groups: Int[np.ndarray, " n"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Fold of each row, `count` of about equal size; equal networks share a fold."""
    names, inverse = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return (order % count)[inverse]


def as_float64(y: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Labels in double precision, whatever they come in."""
    return np.asarray(y, np.float64)
