"""Images in folders: `train/<class>/*.png`, and `test/<class>/` where there is a test set."""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from nas.data.class_folders import class_folders
from nas.data.config import ImageFolderConfig
from nas.data.dataset import Split
from nas.data.decode import decode
from nas.data.source import Source

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
    return Source(str(config.path / "train"), split, folders.classes, read_test)


def _split(
    paths: list[Path], labels: Int32[np.ndarray, " n"], size: int | None, channels: int | None
) -> Split:
    size_fix = "set data.size (pixels) to scale and crop them"
    images = decode(paths, lambda i: str(paths[i]), channels=channels, size=size, size_fix=size_fix)
    return Split(images, labels)
