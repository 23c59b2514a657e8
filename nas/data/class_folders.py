"""Folders that are classes: `train/<class>/`, and `test/<class>/` where there is a test set."""

import os
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
        InputError: a folder is missing, a class has no file in `train`, `test` has none at all,
            files lie above or below the folder of a class.
    """
    require_folder(path, expected)
    train, test = path / "train", path / "test"
    require_folder(train, expected)
    files = _of_classes(train, suffixes, what)
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
    of_test = _of_classes(test, suffixes, what)
    unknown = [name for name in of_test if name not in files]
    if unknown:
        raise InputError(
            f"{test / unknown[0]}: class '{unknown[0]}' has no example in train; every class needs "
            f"one: add {train / unknown[0]} or remove the folder"
        )
    if not any(of_test.values()):
        raise InputError(f"{test}: no {what}; add some, or remove the folder to split train")
    return ClassFolders(files, of_test)


def _of_classes(part: Path, suffixes: tuple[str, ...], what: str) -> dict[str, list[Path]]:
    """The files of each folder in `train` or `test`; none may lie elsewhere in there."""
    names, loose = _entries(part, suffixes)
    if loose:
        raise InputError(
            f"{loose[0]}: is in no class; a class is a folder in {part}: move the {len(loose)} "
            f"{what} that lie beside the classes into theirs, or elsewhere"
        )
    found = {}
    for name in names:
        folders, found[name] = _entries(part / name, suffixes)
        for folder in folders:
            _refuse_nested(part / name / folder, suffixes, what)
    return found


def _refuse_nested(folder: Path, suffixes: tuple[str, ...], what: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if files:
        owner = folder.parent
        raise InputError(
            f"{files[0].parent}: holds {what} too deep, {len(files)} below {folder}; a class is a "
            f"folder in {owner.parent} and holds its {what} itself: move them into {owner}, or the "
            f"folder into {owner.parent} if it is a class"
        )


def _entries(folder: Path, suffixes: tuple[str, ...]) -> tuple[list[str], list[Path]]:
    """Names of the folders in a folder, and its files that count, both sorted."""
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    folders = sorted(entry.name for entry in seen if entry.is_dir())
    names = {entry.name for entry in seen} - {*folders}
    return folders, [folder / n for n in sorted(names) if Path(n).suffix.lower() in suffixes]
