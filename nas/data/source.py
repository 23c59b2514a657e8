"""What every loader's `read` returns, and the checks that loaders share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from nas.data.dataset import Split
from search_spaces.errors import InputError


@dataclass(frozen=True)
class Source:
    """A dataset as it is stored.

    Args:
        where: how error lines name it, usually its path.
        train: all training images, those for validation among them.
        classes: class names.
        read_test: reads the test set; None where the format has none.
    """

    where: str
    train: Split
    classes: tuple[str, ...]
    read_test: Callable[[], Split] | None


def require_folder(path: Path, expected: str) -> None:
    """Raise the InputError for a path that isn't a folder; `expected` says what belongs there."""
    if not path.exists():
        raise InputError(f"data.path: {path}: no such folder; {expected}")
    if not path.is_dir():
        raise InputError(f"data.path: {path}: a file, but must be a folder; {expected}")


def check_labels(labels: np.ndarray, n_classes: int, where: str) -> Int32[np.ndarray, " n"]:
    """The labels as int32.

    Args:
        labels: whole numbers of any width, one an example.
        n_classes: labels must be 0..n_classes - 1.
        where: the file or array that holds them.

    Raises:
        InputError: a label is out of range.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if wrong.size:
        more = f" (and {wrong.size - 1} more)" if wrong.size > 1 else ""
        raise InputError(
            f"{where}: label {labels[wrong[0]]} of example {wrong[0]}{more} is out of range; "
            f"labels must be 0..{n_classes - 1}, one number a class: correct or drop the example"
        )
    return labels.astype(np.int32)


def check_classes(source: Source) -> None:
    """Raise an InputError unless there are two classes and each has a training example."""
    if len(source.classes) < 2:
        only = f"one class ('{source.classes[0]}')" if source.classes else "no class"
        raise InputError(f"{source.where}: {only}; at least two are needed: add examples of others")
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        more = f" (nor have {empty.size - 1} more)" if empty.size > 1 else ""
        raise InputError(
            f"{source.where}: class '{source.classes[empty[0]]}' has no example in train{more}; "
            "every class needs one: add examples or leave the class out"
        )
