"""Folders that are classes: `train/<class>/`, and `test/<class>/` where there is a test set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from nas.data.source import require_folder
from search_spaces.errors import InputError


@dataclass(frozen=True)
class ClassFolders:
    """The files of each class, in order.

    Args:
        train: of `train/`; every class has one.
        test: of `test/`, whose classes are some of those; None where there is none.
    """

    train: Mapping[str, list[Path]]
    test: Mapping[str, list[Path]] | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(self.train)

    def listed(self, files: Mapping[str, list[Path]]) -> tuple[list[Path], Int32[np.ndarray, " n"]]:
        """The files one after another, and the class number of each."""
        paths = [path for name in files for path in files[name]]
        labels = [self.classes.index(name) for name in files for _ in files[name]]
        return paths, np.array(labels, np.int32)


def class_folders(path: Path, suffixes: tuple[str, ...], what: str, expected: str) -> ClassFolders:
    """Look at the names in a folder; no file is opened.

    Args:
        path: the folder with `train/`.
        suffixes: of the files that count, in lower case.
        what: what they are, for error lines.
        expected: what belongs in the folder, for error lines.

    Raises:
        InputError: a folder is missing, a class has no file in `train`, `test` has none at all.
    """
    require_folder(path, expected)
    train, test = path / "train", path / "test"
    require_folder(train, expected)
    files = {name: _files(train / name, suffixes) for name in _folders(train)}
    if not files:
        raise InputError(f"{train}: no class folders; {expected}")
    empty = [name for name, found in files.items() if not found]
    if empty:
        kinds = " or ".join([", ".join(suffixes[:-1]), suffixes[-1]] if suffixes[1:] else suffixes)
        raise InputError(
            f"{train / empty[0]}: class '{empty[0]}' has no example in train ({kinds}); every "
            f"class needs one: add {what} or remove the folder"
        )
    if not test.exists():
        return ClassFolders(files, None)
    require_folder(test, expected)
    of_test = {name: _files(test / name, suffixes) for name in _folders(test)}
    unknown = [name for name in of_test if name not in files]
    if unknown:
        raise InputError(
            f"{test / unknown[0]}: class '{unknown[0]}' has no example in train; every class needs "
            f"one: add {train / unknown[0]} or remove the folder"
        )
    if not any(of_test.values()):
        raise InputError(f"{test}: no {what}; add some, or remove the folder to split train")
    return ClassFolders(files, of_test)


def _folders(path: Path) -> list[str]:
    return sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
