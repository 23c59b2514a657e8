"""A fitted predictor on disk: `predictor.json` says what it is, `predictor.npz` its arrays."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces import files
from search_spaces.errors import InputError

FORMAT = 1
DESCRIPTION = "predictor.json"
ARRAYS = "predictor.npz"
_FIX = "fit the predictor again"


def write(folder: Path, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write both files, each as a whole; the description holds the digest of the arrays.

    Args:
        folder: made if it is missing.
        description: JSON-able.
        arrays: by name.

    Raises:
        InputError: the folder can't be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    files.write_bytes(folder / ARRAYS, data)
    head = {"format": FORMAT, "arrays_sha256": hashlib.sha256(data).hexdigest()}
    files.write_json(folder / DESCRIPTION, {**head, **description})


def read_description(folder: Path) -> dict[str, Any]:
    """What the predictor in a folder is.

    Raises:
        InputError: the file is missing, corrupt or of another format.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(_read(path))
    except ValueError:
        raise InputError(f"{path}: not JSON, the file is corrupt; {_FIX}") from None
    if not isinstance(description, dict) or "format" not in description:
        raise InputError(f"{path}: not the description of a predictor; {_FIX}")
    if description["format"] != FORMAT:
        found = description["format"]
        raise InputError(f"{path}: format {found!r}, this version reads {FORMAT}; {_FIX}")
    return description


def read_arrays(folder: Path, description: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays that belong to a description.

    Raises:
        InputError: the file is missing or not the one that was written with the description.
    """
    path = folder / ARRAYS
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != description.get("arrays_sha256"):
        raise InputError(f"{path}: not what was saved, its checksum differs; {_FIX}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, zipfile.BadZipFile):
        raise InputError(f"{path}: not an npz file; {_FIX}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{path}: can't be read: {reason}; {_FIX}") from None
