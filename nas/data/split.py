"""Stratified splits: every class is held out in the same share."""

import numpy as np
from jaxtyping import Int

from nas.data.dataset import Split
from search_spaces.errors import InputError


def stratified(
    labels: Int[np.ndarray, " n"], share: float, seed: int
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " held"]]:
    """Numbers of the examples that stay and of those that are held out, each ascending.

    A class with two examples or more has at least one on either side; a lone example stays.

    Args:
        labels: class of each example.
        share: part of each class to hold out, between 0 and 1.
        seed: the same seed gives the same split.

    Example:
        >>> kept, held = stratified(np.array([0, 0, 0, 0, 1, 1]), share=0.5, seed=0)
        >>> np.bincount(np.array([0, 0, 0, 0, 1, 1])[held]).tolist()
        [2, 1]
    """
    rng = np.random.default_rng(seed)
    kept, held = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        n_held = min(max(int(share * len(members) + 0.5), 1), len(members) - 1)
        held.append(members[:n_held])
        kept.append(members[n_held:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def split_off(split: Split, share: float, seed: int, where: str) -> tuple[Split, Split]:
    """The rest, and a stratified share of the split.

    Raises:
        InputError: no class has two examples, so nothing can be held out.
    """
    kept, held = stratified(split.labels, share, seed)
    if not held.size:
        raise InputError(
            f"{where}: no class has two examples to split between training and validation; "
            "add examples"
        )
    return split.take(kept), split.take(held)
