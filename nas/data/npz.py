"""A NumPy archive with x_train, y_train, and x_test, y_test where there is a test set."""

import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from nas.data.config import NpzConfig
from nas.data.dataset import Split
from nas.data.source import Source, check_labels
from search_spaces.errors import InputError

_EXPECTED = (
    "npz reads an archive of numpy.savez with x_train (uint8, n h w c or n h w) and y_train (whole "
    "numbers, n), and x_test and y_test if there is a test set"
)
_CORRUPT = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def read(config: NpzConfig) -> Source:
    """The training arrays; of the test arrays only type and shape are looked at."""
    path = config.path
    if not path.is_file():
        kind = "a folder, but must be a file" if path.is_dir() else "no such file"
        raise InputError(f"data.path: {path}: {kind}; {_EXPECTED}")
    headers = _headers(path)
    has_test = "x_test" in headers or "y_test" in headers
    for part in ("train", "test") if has_test else ("train",):
        _check_part(path, part, headers)
    if has_test:
        # An axis of one channel may be left out.
        test, train = ((*headers[x][0], 1)[1:4] for x in ("x_test", "x_train"))
        if test != train:
            raise InputError(
                f"{path}: an image of x_test is {test}, one of x_train {train}: both must have "
                "one shape: make the test set again"
            )
    labels = _array(path, "y_train").reshape(-1)
    n_classes = int(labels.max()) + 1
    if n_classes > len(labels):
        raise InputError(
            f"{path}: y_train: label {n_classes - 1} among {len(labels)} examples: labels must be "
            "0, 1, 2, …, one number a class, each with an example: number the classes anew"
        )
    classes = tuple(map(str, range(max(n_classes, 1))))
    read_test = partial(_split, path, "test", len(classes)) if has_test else None
    return Source(str(path), _split(path, "train", len(classes)), classes, read_test)


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array, without reading the arrays."""
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as file:
                    version = np.lib.format.read_magic(file)
                    read_header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, dtype = read_header(file)
                headers[entry.removesuffix(".npy")] = (shape, dtype)
    except _CORRUPT as error:
        raise _damaged(path, error) from error
    return headers


def _check_part(
    path: Path, part: str, headers: dict[str, tuple[tuple[int, ...], np.dtype]]
) -> None:
    x, y = f"x_{part}", f"y_{part}"
    for name in (x, y):
        if name not in headers:
            there = ", ".join(sorted(headers)) or "none"
            raise InputError(f"{path}: no array '{name}' (it has: {there}); {_EXPECTED}")
    x_shape, x_dtype = headers[x]
    y_shape, y_dtype = headers[y]
    if x_dtype != np.uint8:
        raise InputError(
            f"{path}: {x} is {x_dtype}; it must be uint8 with values 0..255: scale it and save "
            "x.astype('uint8')"
        )
    if len(x_shape) not in (3, 4) or 0 in x_shape or (len(x_shape) == 4 and x_shape[3] > 4):
        raise InputError(
            f"{path}: {x} has shape {x_shape}; it must be (n, h, w) or (n, h, w, c), channels "
            "last, at most 4 of them: transpose it"
        )
    if y_dtype.kind not in "iu" or y_shape not in ((x_shape[0],), (x_shape[0], 1)):
        raise InputError(
            f"{path}: {y} is {y_dtype} of shape {y_shape}; it must be whole numbers of shape "
            f"({x_shape[0]},), one class number for each image of {x}"
        )


def _split(path: Path, part: str, n_classes: int) -> Split:
    images = _array(path, f"x_{part}")
    labels = _array(path, f"y_{part}").reshape(-1)
    return Split(
        images if images.ndim == 4 else images[..., None],
        check_labels(labels, n_classes, f"{path}: y_{part}"),
    )


def _array(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return np.ascontiguousarray(archive[name])
    except _CORRUPT as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a whole .npz file ({error}): save it again; {_EXPECTED}")
