"""Latencies of whole networks that others measured: sources for estimates on a new device.

Published tables list architectures and what they take, of spaces that hwnas may not be able to
build. So this is all that is kept: beside the `device.yaml` one `latencies-SPACE.parquet` a space,
with a row a network, the columns that describe its architecture under the source's own names, and
`latency_ms`. Where the numbers come from stands in the file's metadata.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from hw_profiles.device import (
    ID_PATTERN,
    DeviceSpec,
    Kind,
    list_devices,
    load_device,
    new_device,
)
from search_spaces.errors import InputError
from search_spaces.files import write_bytes

if TYPE_CHECKING:
    from pandas import DataFrame

Unit = Literal["s", "ms", "us"]
_MS: Mapping[str, float] = {"s": 1e3, "ms": 1.0, "us": 1e-3}
_LATENCY = "latency_ms"
_METADATA = b"hwnas"
# Share of rows of networks that stood there before, above which the columns are not the right ones.
_MOST_REPEATED = 0.05


@dataclass(frozen=True, slots=True)
class Origin:
    """Where latencies come from.

    Args:
        source: who measured what how, in the user's words.
        file: name of the imported file.
        sha256: of its content.
        column: the column that was read.
        where: rows that were taken.
        left_out: networks without a number in that column.
        repeated: rows of a network that stood there before; its latency is their median.
        date: of the import, ISO 8601 in UTC.
    """

    source: str
    file: str
    sha256: str
    column: str
    where: Mapping[str, str]
    left_out: int
    repeated: int
    date: str

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Latencies:
    """Whole networks of a space on a device.

    Args:
        device: the device's id.
        space: name of the space.
        archs: a row a network, no two alike; each column is a choice, whole numbers or texts.
        latency_ms: of each network; positive.
        origin: where the numbers come from.
    """

    device: str
    space: str
    archs: "DataFrame"
    latency_ms: Float[np.ndarray, " n"]
    origin: Origin


def read_latencies(
    device: str,
    space: str,
    file: Path,
    column: str,
    *,
    source: str,
    archs: Path | None = None,
    columns: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    unit: Unit = "ms",
) -> Latencies:
    """Read latencies of a CSV or parquet file and check them.

    Args:
        device: the device's id.
        space: name of the space; if hwnas has it, the columns should be named like its knobs.
        file: a row a network.
        column: its column with the latency.
        source: who measured what how.
        archs: file with the architectures, joined by the columns that both files have.
        columns: names of the columns that describe the architecture, `*` allowed; by default all
            but the latency and the keys of the join.
        where: take only rows that have this text in this column.
        unit: of the latency.

    Raises:
        InputError: a line for each problem: files, columns, values.
    """
    if not re.fullmatch(ID_PATTERN, space):
        raise InputError(
            f"--space {space!r}: names of spaces are of small letters, digits, - and _"
        )
    if not source.strip():
        raise InputError("--source: say who measured what, e.g. 'HELP (HayeonLee/HELP, MIT)'")
    _check_unit(column, unit)
    table, keys = read_frame(file), list[str]()
    _check_column(table, column, file)
    where = where or {}
    for name, text in where.items():
        _check_column(table, name, file)
        table = table[table[name].astype(str) == text]
    if archs is not None:
        table, keys = _joined(table, file, read_frame(archs), archs)
    chosen = _chosen(table, columns, {column, *keys, *where}, file if archs is None else archs)
    values = _positive(table[column], column, file) * _MS[unit]
    measured = ~np.isnan(values)
    networks = table[chosen][measured]
    if not measured.any():
        raise InputError(f"{file}: no row has a number in column {column!r}")
    _check_archs(networks, file)
    values_ms = values[measured]
    repeated = _repeated(networks, file)
    if repeated:
        groups = networks.assign(**{_LATENCY: values_ms}).groupby(chosen, sort=False)[_LATENCY]
        networks = groups.median().reset_index()
        values_ms = networks.pop(_LATENCY).to_numpy(np.float64)
    origin = Origin(
        source.strip(),
        file.name,
        hashlib.sha256(file.read_bytes()).hexdigest(),
        column,
        dict(where),
        int((~measured).sum()),
        repeated,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Latencies(device, space, networks.reset_index(drop=True), values_ms, origin)


def import_latencies(latencies: Latencies, kind: Kind = "cpu") -> DeviceSpec:
    """Keep them with their device, which is described if there is none of that name.

    Args:
        latencies: checked, as `read_latencies` gives them.
        kind: of a new device.

    Returns:
        The device.

    Raises:
        InputError: the device is measured here, or has latencies of this space already.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = {device.id for device in list_devices()}
    name = latencies.device
    device = (
        load_device(name)
        if name in known
        else new_device(name, kind=kind, description="published latencies")
    )
    if device.runner is not None:
        raise InputError(f"device {name!r} is measured here: give the import an id of its own")
    path = _path(device, latencies.space)
    if path.exists():
        raise InputError(f"{path}: exists already; remove it to import other latencies")
    frame = latencies.archs.assign(**{_LATENCY: latencies.latency_ms})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {_METADATA: json.dumps(latencies.origin.facts()).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    buffer = BytesIO()
    pq.write_table(table, buffer)
    write_bytes(path, buffer.getvalue())
    return device


def load_latencies(device: DeviceSpec, space: str) -> Latencies:
    """The latencies of a space that were imported for a device.

    Raises:
        InputError: there are none, or the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _path(device, space)
    if not path.exists():
        there = ", ".join(spaces_with_latencies(device)) or "none"
        raise InputError(f"device {device.id!r} has no latencies of space {space!r}; of: {there}")
    try:
        table = pq.read_table(path)
        origin = Origin(**json.loads(table.schema.metadata[_METADATA]))
        frame = table.to_pandas()
        values = frame.pop(_LATENCY).to_numpy(np.float64)
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: is damaged; remove it and import the latencies again") from None
    return Latencies(device.id, space, frame, values, origin)


def spaces_with_latencies(device: DeviceSpec) -> list[str]:
    """Names of the spaces that a device has latencies of."""
    return sorted(path.stem.partition("-")[2] for path in device.folder.glob("latencies-*.parquet"))


def _path(device: DeviceSpec, space: str) -> Path:
    return device.folder / f"latencies-{space}.parquet"


def read_frame(path: Path) -> Any:
    """The table of a CSV or parquet file; texts of numbers are numbers, but not `00021`.

    Raises:
        InputError: the file can't be read, or is of another kind.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str).apply(_typed)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0].lower() if str(error) else type(error).__name__
        raise InputError(f"{path}: can't be read: {reason}") from None
    raise InputError(f"{path}: must be a .csv or a .parquet file")


def _typed(column: Any) -> Any:
    """Numbers where all of a column's texts are; but `00021` is an architecture, not 21."""
    import pandas as pd

    numbers: Any = pd.to_numeric(column, errors="coerce")
    coded = column.str.fullmatch(r"0\d+").fillna(False).any()
    return column if coded or (numbers.isna() & column.notna()).any() else numbers


def _check_column(table: Any, name: str, file: Path) -> None:
    if name not in table:
        raise InputError(f"{file}: has no column {name!r}; columns: {', '.join(table.columns)}")


def _check_unit(column: str, unit: Unit) -> None:
    words = re.split(r"[^a-z0-9]+", column.lower())
    if {"throughput", "fps"} & set(words):
        raise InputError(f"column {column!r} is a throughput; latencies are wanted")
    said = {"ns", "us", "ms", "s", "sec", "seconds"} & set(words)
    if said and unit not in said | ({"s"} if said & {"sec", "seconds"} else set()):
        raise InputError(
            f"column {column!r} does not look like {unit}; say --unit, one of s, ms, us"
        )


def _joined(table: Any, file: Path, archs: Any, archs_file: Path) -> tuple[Any, list[str]]:
    keys = [name for name in archs.columns if name in table.columns]
    if not keys:
        raise InputError(f"{file} and {archs_file} have no column in common to join them by")
    if archs.duplicated(keys).any():
        raise InputError(f"{archs_file}: {', '.join(keys)} must tell its rows apart")
    joined = table.merge(archs, on=keys, how="left", indicator=True)
    unknown = int((joined.pop("_merge") != "both").sum())
    if unknown:
        raise InputError(f"{file}: {unknown} of {len(table)} rows are of no row of {archs_file}")
    return joined, keys


def _chosen(table: Any, patterns: Sequence[str], without: set[str], file: Path) -> list[str]:
    if not patterns:
        return [name for name in table.columns if name not in without]
    chosen: dict[str, None] = {}
    for pattern in patterns:
        found = [name for name in table.columns if fnmatchcase(name, pattern)]
        if not found:
            raise InputError(f"{file}: no column {pattern!r}; columns: {', '.join(table.columns)}")
        chosen |= dict.fromkeys(found)
    return list(chosen)


def _positive(values: Any, column: str, file: Path) -> Float[np.ndarray, " n"]:
    """The column's numbers; NaN where it is empty."""
    import pandas as pd

    column_numbers: Any = pd.to_numeric(values, errors="coerce")
    numbers = column_numbers.to_numpy(np.float64)
    wrong = (np.isnan(numbers) & values.notna().to_numpy()) | (numbers <= 0) | np.isinf(numbers)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{file}: column {column!r}: {int(wrong.sum())} values are no latency; the first is "
            f"{values.iloc[row]} in row {row + 1}"
        )
    return numbers


def _check_archs(archs: Any, file: Path) -> None:
    from pandas.api.types import is_integer_dtype, is_string_dtype

    if not len(archs.columns):
        raise InputError(f"{file}: no column is left to describe the architecture")
    problems = []
    for name, values in archs.items():
        if values.isna().any():
            problems.append(f"{file}: column {name!r} is empty in {int(values.isna().sum())} rows")
        elif not is_integer_dtype(values) and not is_string_dtype(values):
            problems.append(
                f"{file}: column {name!r} holds fractions, so it describes no choice; name the "
                "columns of the architecture with --columns, e.g. --columns 'op_*'"
            )
    if problems:
        raise InputError(problems)


def _repeated(archs: Any, file: Path) -> int:
    """How many rows describe a network once more: a few were measured again, many are a mistake."""
    again = np.flatnonzero(archs.duplicated())
    if len(again) > _MOST_REPEATED * len(archs):
        first = int(np.flatnonzero((archs == archs.iloc[again[0]]).all(axis=1))[0])
        raise InputError(
            f"{file}: {len(again)} rows describe a network that another row describes, such as "
            f"rows {archs.index[first] + 1} and {archs.index[again[0]] + 1}: choose rows with "
            "--where, or more columns with --columns"
        )
    return len(again)
