"""The table of trials: a SQLite file that anyone can query while the run goes on.

It is a view of the journal for reading: `trials(id, arch)` has one row a network, and
`metrics(trial, stage, column, value, source, lower, upper)` one row a number. The same network
keeps its id over all stages, so `RUN/42` names one network.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from pandas import DataFrame

_SCHEMA = """
CREATE TABLE IF NOT EXISTS trials(
    id INTEGER PRIMARY KEY, arch TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS metrics(
    trial INTEGER NOT NULL REFERENCES trials(id), stage TEXT NOT NULL, column TEXT NOT NULL,
    value REAL, source TEXT NOT NULL, lower REAL, upper REAL,
    PRIMARY KEY (stage, column, trial)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied(records INTEGER NOT NULL, digest INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Batch:
    """Evaluated networks of one stage.

    Args:
        stage: such as `label`, `search`, `front`.
        archs: (n, k).
        columns: a number a network by column name, such as `latency_ms@cpu`; NaN where unknown.
        sources: where a column's numbers come from: `measured`, `interpolated`, `predicted` …
        intervals: lower and upper bound of a column's numbers.
    """

    stage: str
    archs: Int[np.ndarray, "n k"]
    columns: Mapping[str, Float[np.ndarray, " n"] | Int[np.ndarray, " n"]]
    sources: Mapping[str, str]
    intervals: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        unsourced = sorted(set(self.columns) - set(self.sources))
        if unsourced:
            raise ValueError(f"columns without a source: {', '.join(unsourced)}")

    def to_record(self) -> dict[str, Any]:
        """The journal's record of it."""
        return {"kind": "trials", **self.__dict__}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Batch":
        """The inverse of `to_record`, after JSON."""
        return cls(
            record["stage"],
            np.array(record["archs"], np.int64),
            {name: np.array(values, float) for name, values in record["columns"].items()},
            record["sources"],
            {
                name: (np.array(lower, float), np.array(upper, float))
                for name, (lower, upper) in record["intervals"].items()
            },
        )


def connect(path: Path) -> sqlite3.Connection:
    """Open for writing; readers are never blocked (write-ahead log)."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    # The journal is the truth and is fsynced; after a power cut the table is caught up from it.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(_SCHEMA)
    return connection


def applied(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many journal records the table holds, and the journal's digest of them."""
    row = connection.execute("SELECT records, digest FROM applied").fetchone()
    return row or (0, 0)


def apply(
    connection: sqlite3.Connection, batches: Sequence[Batch], records: int, digest: int
) -> None:
    """Add the batches and note what the table then holds, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for batch in batches:
            _insert(connection, batch)
        connection.execute("DELETE FROM applied")
        connection.execute("INSERT INTO applied VALUES (?, ?)", (records, digest))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert(connection: sqlite3.Connection, batch: Batch) -> None:
    archs = arch_texts(batch.archs)
    # Ids are given here, not by SQLite, so that they count up without gaps in order of appearance.
    known = ids(connection, archs)
    following = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM trials").fetchone()[0]
    new = [arch for arch in dict.fromkeys(archs) if arch not in known]
    known |= {arch: following + number for number, arch in enumerate(new)}
    connection.executemany(
        "INSERT INTO trials VALUES (?, ?)", ((known[arch], arch) for arch in new)
    )
    trials = [known[arch] for arch in archs]
    nothing = [None] * len(archs)
    for column, values in batch.columns.items():
        lower, upper = batch.intervals.get(column, (nothing, nothing))
        source = batch.sources[column]
        connection.executemany(
            "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (trial, batch.stage, column, _real(value), source, _real(low), _real(high))
                for trial, value, low, high in zip(trials, values, lower, upper, strict=True)
            ),
        )


def ids(connection: sqlite3.Connection, archs: Sequence[str]) -> dict[str, int]:
    """The trial ids of those of the networks that have one."""
    found: dict[str, int] = {}
    for start in range(0, len(archs), 500):
        some = archs[start : start + 500]
        marks = ",".join("?" * len(some))
        found |= dict(
            connection.execute(f"SELECT arch, id FROM trials WHERE arch IN ({marks})", some)
        )
    return found


def arch_texts(archs: Int[np.ndarray, "n k"]) -> list[str]:
    """Each network as the JSON list that the table keys it by."""
    return [json.dumps(arch, separators=(",", ":")) for arch in archs.tolist()]


def frame(connection: sqlite3.Connection, stage: str | None) -> "DataFrame":
    """The trials of a stage (of all by default) as a table, by id.

    Returns:
        indexed by `id`: `stage`, `arch` (tuple), and for every metric its number,
        `<metric>.source`, and `<metric>.lower`, `<metric>.upper` where it has an interval.
    """
    import pandas as pd

    stages = [stage] if stage is not None else _distinct(connection, "stage", "1")
    tables = [_stage_frame(connection, name) for name in stages or ["none yet"]]
    return pd.concat(tables).sort_index(kind="stable") if len(tables) > 1 else tables[0]


def _stage_frame(connection: sqlite3.Connection, stage: str) -> "DataFrame":
    import pandas as pd

    columns = {
        column: pd.DataFrame(
            connection.execute(
                "SELECT trial, value, source, lower, upper FROM metrics "
                "WHERE stage = ? AND column = ? ORDER BY trial",
                (stage, column),
            ).fetchall(),
            columns=["id", "value", "source", "lower", "upper"],
        ).set_index("id")
        for column in _distinct(connection, "column", "stage = ?", stage)
    }
    trials = sorted(set[int]().union(*(part.index for part in columns.values())))
    networks = {
        trial: tuple(json.loads(arch))
        for trial, arch in connection.execute("SELECT id, arch FROM trials")
    }
    table: dict[str, Any] = {
        "stage": stage,
        "arch": [networks[trial] for trial in trials],
    }
    for column, part in columns.items():
        part = part.reindex(trials)
        table[column] = part["value"].astype(float)
        table[f"{column}.source"] = part["source"]
        for bound in ("lower", "upper"):
            if part[bound].notna().to_numpy().any():
                table[f"{column}.{bound}"] = part[bound].astype(float)
    return pd.DataFrame(table, index=pd.Index(trials, name="id", dtype="int64"))


def _distinct(connection: sqlite3.Connection, what: str, where: str, *values: str) -> list[str]:
    query = f"SELECT DISTINCT {what} FROM metrics WHERE {where} ORDER BY {what}"
    return [row[0] for row in connection.execute(query, values)]


def _real(value: Any) -> float | None:
    # SQLite has no NaN: it stores NULL.
    return None if value is None else float(value)
