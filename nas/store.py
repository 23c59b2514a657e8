"""The folder of a run: everything it is made of and everything it found, in open formats.

The journal (`search/journal.jsonl`) is the truth; `run.db` is the table made from it for reading,
and is made again or caught up whenever it is missing or behind. Nothing overwrites a run.
"""

import csv
import fcntl
import io
import json
import os
import socket
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from nas import trials
from nas.journal import Journal
from nas.journal import read as read_journal
from nas.trials import Batch
from search_spaces.errors import InputError
from search_spaces.files import disk_error, no_space, write_json, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

CONFIG = "config.yaml"
RESOLVED = "config.resolved.yaml"
ENVIRONMENT = "environment.json"
_JOURNAL = Path("search", "journal.jsonl")
_DATABASE = "run.db"
_LOCK = "run.lock"
_LOG = "log.txt"


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run; one whose making was cut short does not count."""
    return (folder / RESOLVED).is_file()


class RunStore:
    """A run opened for writing, by `RunStore.create` or `RunStore.open`.

    One process at a time; the lock goes when the process does.
    """

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self.folder = folder
        self._lock = lock
        self.journal = Journal(folder / _JOURNAL)
        self._database = self._caught_up()

    @classmethod
    def create(
        cls, folder: Path, config: str, resolved: str, environment: Mapping[str, Any]
    ) -> "RunStore":
        """Start a run in a new folder, or in one where nothing has been done yet.

        Args:
            folder: must not hold a run or anything else.
            config: the experiment's YAML as the user wrote it.
            resolved: the same with every default filled in.
            environment: host, versions, seed …, JSON-able.

        Raises:
            InputError: the folder is taken, or can't be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, folder) from error
        names = {path.name for path in folder.iterdir() if path.suffix != ".tmp"}
        if not is_run(folder) and names - {CONFIG, ENVIRONMENT, _LOCK, _LOG}:
            raise InputError(f"{folder}: exists and is not a run; choose another name")
        lock = _lock(folder)
        try:
            if is_run(folder) and _has_work(folder):
                raise InputError(
                    f"{folder}: this run exists; continue it with --resume, or choose another name"
                )
            write_text(folder / CONFIG, config)
            write_json(folder / ENVIRONMENT, environment)
            write_text(folder / RESOLVED, resolved)
            return cls(folder, lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def open(cls, folder: Path) -> "RunStore":
        """Open a run to continue it.

        Raises:
            InputError: there is no run, another process has it open, or its journal is damaged.
        """
        if not is_run(folder):
            raise InputError(f"{folder}: there is no run here; start one without --resume")
        lock = _lock(folder)
        try:
            return cls(folder, lock)
        except BaseException:
            lock.close()
            raise

    @property
    def log_path(self) -> Path:
        """The run's log."""
        return self.folder / _LOG

    def append(self, batch: Batch) -> Int[np.ndarray, " n"]:
        """Add evaluated networks; one that is there already keeps its id and gets the new numbers.

        Returns:
            their trial ids, which count from 1 in order of first appearance.

        Raises:
            InputError: the disk is full; what was added before is safe.
        """
        self.journal.append(batch.to_record())
        self._catch_up(self._database)
        texts = trials.arch_texts(batch.archs)
        known = trials.ids(self._database, texts)
        return np.array([known[text] for text in texts], np.int64)

    def trials(self, stage: str | None = None) -> "DataFrame":
        """The trials of a stage, or of all; see `nas.trials.frame` for the columns."""
        return trials.frame(self._database, stage)

    def done(self, stage: str) -> bool:
        """Whether the stage was finished."""
        return _marker(self.folder, stage).exists()

    def mark_done(self, stage: str, **facts: Any) -> None:
        """Note that the stage is finished, with facts for the report such as `seconds`."""
        write_json(_marker(self.folder, stage), facts)

    def write_pareto(self, front: "DataFrame", by: str) -> Path:
        """Write `pareto.csv`: the same rows give the same bytes, in whatever order they come.

        Args:
            front: indexed by trial id, with `arch` and the columns to keep.
            by: the column that it is sorted by; ties are sorted by `arch`.
        """
        rows = front.reset_index()
        order = sorted(range(len(rows)), key=lambda row: (rows[by][row], rows["arch"][row]))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(rows.columns)
        for row in order:
            writer.writerow([_cell(rows[column][row]) for column in rows.columns])
        path = self.folder / "pareto.csv"
        write_text(path, text.getvalue())
        return path

    def close(self) -> None:
        """Give the run back."""
        self._database.close()
        self.journal.close()
        self._lock.close()

    def __enter__(self) -> "RunStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _caught_up(self) -> sqlite3.Connection:
        path = self.folder / _DATABASE
        try:
            database = trials.connect(path)
            n_records, digest = trials.applied(database)
            if n_records <= len(self.journal.records) and digest == self.journal.digest(n_records):
                self._catch_up(database)
                return database
            database.close()
        except sqlite3.DatabaseError as error:
            _raise_if_full(error, path)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        database = trials.connect(path)
        self._catch_up(database)
        return database

    def _catch_up(self, database: sqlite3.Connection) -> None:
        try:
            n_records, _ = trials.applied(database)
            behind = self.journal.records[n_records:]
            batches = [Batch.from_record(record) for record in behind if record["kind"] == "trials"]
            trials.apply(database, batches, len(self.journal.records), self.journal.digest())
        except sqlite3.DatabaseError as error:
            _raise_if_full(error, self.folder / _DATABASE)
            raise


def stage_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """The facts of every finished stage, in the order in which they finished."""
    markers = sorted((folder / "stages").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return {marker.stem: _read_json(marker) for marker in markers}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(
            f"{path}: not whole ({error}): delete it, and continue the run with --resume"
        ) from error


def read_trials(folder: Path, stage: str | None = None) -> "DataFrame":
    """`RunStore.trials` for a reader: takes no lock, also while the run goes on."""
    path = folder / _DATABASE
    # A finished run on a read-only disk can't make the shared-memory file that WAL needs.
    mode = "mode=ro" if os.access(folder, os.W_OK) else "immutable=1"
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        try:
            return trials.frame(database, stage)
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path}: can't be read ({error}); it is made again by running the experiment with "
            "--resume"
        ) from error


def _marker(folder: Path, stage: str) -> Path:
    return folder / "stages" / f"{stage}.json"


def _has_work(folder: Path) -> bool:
    """Whether a run has finished a stage, or noted an evaluation: else it is no loss."""
    return any((folder / "stages").glob("*.json")) or bool(read_journal(folder / _JOURNAL).records)


def _lock(folder: Path) -> IO[str]:
    path = folder / _LOCK
    # The kernel drops the lock when its process dies, however it dies, so none is ever stale.
    try:
        file = path.open("a+")
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or "another process"
        file.close()
        raise InputError(
            f"{folder}: the run is being worked on by {owner}; wait for it or stop it"
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def _raise_if_full(error: sqlite3.DatabaseError, path: Path) -> None:
    if error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):
        raise no_space(path) from error


def _cell(value: Any) -> str:
    if isinstance(value, tuple | list | dict):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, float):
        return "" if np.isnan(value) else repr(float(value))
    return str(value)
