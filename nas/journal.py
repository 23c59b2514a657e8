"""The append-only log of a run: what is in it happened, what is not did not.

A file of JSON lines, each `{"crc32": "9a3f00c1", "record": {…}}` with the checksum of the record's
text. `append` returns once the line is on disk (fsync). A process killed while it appends leaves a
torn last line, which the next `Journal` cuts off; damage before that is reported, never skipped.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.errors import InputError
from search_spaces.files import disk_error, sync_folder

Record = dict[str, Any]

_LINE = re.compile(rb'\{"crc32": "([0-9a-f]{8})", "record": (\{.*\})\}\n')


@dataclass(frozen=True)
class Contents:
    """The whole records of a journal file.

    Args:
        records: in the order in which they were appended.
        digests: `digests[i]` covers the first `i` records, so two journals that agree on it agree
            on those records.
        n_bytes: length of the file up to the last whole record.
    """

    records: list[Record]
    digests: list[int]
    n_bytes: int


def read(path: Path) -> Contents:
    """Read without changing the file; also while another process appends to it.

    Raises:
        InputError: a record before the last one is damaged.
    """
    records: list[Record] = []
    digests = [0]
    n_bytes = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or zlib.crc32(match[2]) != int(match[1], 16):
            if number == len(lines):
                break
            raise InputError(
                f"{path}:{number}: damaged record (its checksum is wrong) with whole ones after "
                "it: restore the file from a copy, or start the run again under another name"
            )
        records.append(json.loads(match[2]))
        digests.append(zlib.crc32(line, digests[-1]))
        n_bytes += len(line)
    return Contents(records, digests, n_bytes)


class Journal:
    """The journal open for appending; one process at a time (the run's lock sees to that).

    Args:
        path: the file; it is made if there is none.

    Raises:
        InputError: a record before the last one is damaged, or the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        contents = read(self.path)
        self.records = contents.records
        self._digests = contents.digests
        self._n_bytes = contents.n_bytes
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._cut()
            sync_folder(self.path.parent)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def digest(self, n: int | None = None) -> int:
        """Checksum of the first `n` records (all of them by default)."""
        return self._digests[-1 if n is None else n]

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record; it is on disk when this returns, and not in the file when this raises.

        Args:
            record: JSON-able, numpy arrays and scalars included; floats are kept exactly.

        Raises:
            InputError: the disk is full; the file holds the records from before.
        """
        text = json.dumps(record, default=_plain).encode()
        line = b'{"crc32": "%08x", "record": %s}\n' % (zlib.crc32(text), text)
        try:
            written = 0
            while written < len(line):
                offset = self._n_bytes + written
                written += os.pwrite(self._descriptor, line[written:], offset)
            os.fsync(self._descriptor)
        except BaseException as error:
            self._cut()
            if isinstance(error, OSError):
                raise disk_error(error, self.path) from error
            raise
        self._n_bytes += len(line)
        self._digests.append(zlib.crc32(line, self._digests[-1]))
        self.records.append(json.loads(text))

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self._n_bytes)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be written to the journal")
