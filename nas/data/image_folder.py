"""Images in folders: `train/<class>/*.png`, and `test/<class>/` where there is a test set."""

from functools import partial
from pathlib import Path

import numpy as np

from nas.data.config import ImageFolderConfig
from nas.data.dataset import Split
from nas.data.decode import decode
from nas.data.source import Source, require_folder
from search_spaces.errors import InputError

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_EXPECTED = "image_folder reads train/<class>/*.png or *.jpg, and test/<class>/ if there is one"


def read(config: ImageFolderConfig) -> Source:
    """The training images, decoded; of `test/` only the names are looked at."""
    require_folder(config.path, _EXPECTED)
    train, test = config.path / "train", config.path / "test"
    require_folder(train, _EXPECTED)
    files = {name: _images(train / name) for name in _folders(train)}
    if not files:
        raise InputError(f"{train}: no class folders; {_EXPECTED}")
    empty = [name for name, images in files.items() if not images]
    if empty:
        raise InputError(
            f"{train / empty[0]}: class '{empty[0]}' has no example in train (.png, .jpg or "
            ".jpeg); every class needs one: add images or remove the folder"
        )
    classes = tuple(files)
    test_files = _test_files(test, classes) if test.exists() else None
    split = _split(files, classes, config.size, config.channels)
    read_test = None
    if test_files is not None:
        # Test images follow the training images, also where the first of those decided.
        read_test = partial(_split, test_files, classes, config.size, split.images.shape[3])
    return Source(str(train), split, classes, read_test)


def _test_files(test: Path, classes: tuple[str, ...]) -> dict[str, list[Path]]:
    require_folder(test, _EXPECTED)
    files = {name: _images(test / name) for name in _folders(test)}
    unknown = [name for name in files if name not in classes]
    if unknown:
        raise InputError(
            f"{test / unknown[0]}: class '{unknown[0]}' has no example in train; every class needs "
            f"one: add {test.parent / 'train' / unknown[0]} or remove the folder"
        )
    if not any(files.values()):
        raise InputError(f"{test}: no images; add some, or remove the folder to split train")
    return files


def _folders(path: Path) -> list[str]:
    return sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _split(
    files: dict[str, list[Path]], classes: tuple[str, ...], size: int | None, channels: int | None
) -> Split:
    paths = [path for name in files for path in files[name]]
    labels = [classes.index(name) for name in files for _ in files[name]]
    size_fix = "set data.size (pixels) to scale and crop them"
    images = decode(paths, lambda i: str(paths[i]), channels=channels, size=size, size_fix=size_fix)
    return Split(images, np.array(labels, np.int32))
