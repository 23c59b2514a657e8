"""Writing files so that a crash, a kill or a full disk never leaves half a file.

Everything that a run or a latency table keeps is written here, so it lives in the leftmost folder
that needs it.
"""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from search_spaces.errors import InputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file as a whole: readers see the old content or the new, never a part.

    Folders above it are made. The data is on disk (fsync) before the old file goes.

    Raises:
        InputError: the disk is full or the place can't be written; the old file is as it was.
    """
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """`write_bytes` for content that is made while it is written.

    The file appears when the block ends, and stays as it was if the block raises.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of the text in UTF-8, line ends as given."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of the value as indented JSON; NaN and infinity are refused (not JSON)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename or a new file survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError, path: Path) -> InputError:
    """The line for a user when `path` can't be written: what, how much is free, the fix."""
    if error.errno in _NO_SPACE:
        return no_space(path)
    reason = (error.strerror or str(error)).lower()
    return InputError(f"{path}: can't be written: {reason}; nothing was changed")


def no_space(path: Path) -> InputError:
    """The error for a full disk at `path`, with what is free there."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return InputError(
        f"{path}: no space left: {_size(shutil.disk_usage(folder).free)} free in {folder}; "
        "nothing was lost: free some space and give the same command again (a run: with --resume)"
    )


def _size(n_bytes: int) -> str:
    size = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
