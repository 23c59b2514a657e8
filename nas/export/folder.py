"""An export's folder appears whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from search_spaces.errors import InputError
from search_spaces.files import disk_error, sync_folder


def refuse_existing(folder: Path) -> None:
    """Raise if there is something at this path: an export overwrites nothing.

    Raises:
        InputError: with the fix.
    """
    if os.path.lexists(folder):
        raise InputError(f"{folder}: exists already; remove it or choose another folder with -o")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a new folder with these files, by their paths in it.

    They are written beside it and on disk before the name appears, so that neither a crash nor a
    full disk leaves a part of it.

    Raises:
        InputError: the folder exists, the disk is full or the place can't be written.
    """
    folder = Path(folder)
    refuse_existing(folder)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        try:
            for name, data in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                with (temporary / name).open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            sync_folder(temporary)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder.parent)
    except OSError as error:
        raise disk_error(error, folder) from error
