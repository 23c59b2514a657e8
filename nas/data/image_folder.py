"""Images in folders: `train/<class>/*.png`, and `test/<class>/` where there is a test set."""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from nas.data.class_folders import ClassFolders, class_folders
from nas.data.config import ImageFolderConfig
from nas.data.dataset import Split
from nas.data.decode import decode, header_size
from nas.data.source import Source
from search_spaces.errors import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg")
_EXPECTED = "image_folder reads train/<class>/*.png or *.jpg, and test/<class>/ if there is one"


def read(config: ImageFolderConfig) -> Source:
    """The training images, decoded; of `test/` only the names are looked at."""
    folders = class_folders(config.path, _SUFFIXES, "images", _EXPECTED)
    split = _split(*folders.listed(folders.train), config.size, config.channels)
    read_test = None
    if folders.test is not None:
        # Test images follow the training images, also where the first of those decided.
        listed = folders.listed(folders.test)
        read_test = partial(_split, *listed, config.size, split.images.shape[3])
        _check_size(folders, split.images.shape[1:3], config.size)
    return Source(str(config.path / "train"), split, folders.classes, read_test)


def _check_size(folders: ClassFolders, size: tuple[int, int], wanted: int | None) -> None:
    """Refuse a test set of another size before anything is trained; its first header tells."""
    if wanted is not None or folders.test is None:
        return
    first = next(path for paths in folders.test.values() for path in paths)
    height, width = header_size(first)
    if (height, width) != size:
        raise InputError(
            f"{first}: {width}x{height} pixels while those of train have {size[1]}x{size[0]}; all "
            "images must have one size: set data.size (pixels) to scale and crop them"
        )


def _split(
    paths: list[Path], labels: Int32[np.ndarray, " n"], size: int | None, channels: int | None
) -> Split:
    size_fix = "set data.size (pixels) to scale and crop them"
    images = decode(paths, lambda i: str(paths[i]), channels=channels, size=size, size_fix=size_fix)
    return Split(images, labels)
