"""Published latencies of many networks on many devices, as tables that lie in a folder.

A space is a folder with `archs.parquet` and `latency_ms.parquet`, joined by `arch_idx`. What is
read is known by its layout, not by names of devices: whole-number columns are choices, columns with
fractions are statistics (MACs, parameters), every other column of the latency file is a device.
"""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from predictors.smoothing import smooth_ms
from predictors.transfer_settings import Description
from search_spaces.errors import InputError

ARCHS, LATENCIES, SPLITS = "archs.parquet", "latency_ms.parquet", "splits.json"
_KEY = "arch_idx"
_EDGE = re.compile(r"op_e(\d)(\d)")
# The long layout: a row a network, device, framework and task.
_LONG, _LONG_VALUE = ("device", "framework", "task"), "lat_ms_median"
# Networks by their numbers that HELP tests on, where a space has that many (its `main.py`).
_QUERY_SMALL, _QUERY = range(900, 1900), range(4000, 5000)


@dataclass(frozen=True)
class LatencyData:
    """A space's networks and their latencies.

    Args:
        space: name of the folder.
        readings: descriptions of the networks; as drawn, then as executed where that differs.
        latency_ms: data frame with a column a device, NaN where a network was not measured.
        query: the networks that results are judged on.
        reference: networks that the source of the data measures first; none where it names none.
    """

    space: str
    readings: tuple[Description, ...]
    latency_ms: Any
    query: Int[np.ndarray, " q"]
    reference: Int[np.ndarray, " r"]

    def family(self, device: str) -> str:
        """Columns of one card or board: they differ in what follows the last underscore."""
        return re.sub(r"_\d+$", "", device) if device not in self._long else device.split("_")[0]

    @property
    def _long(self) -> frozenset[str]:
        return frozenset(self.latency_ms.attrs.get("long", ()))

    @cached_property
    def _features(self) -> Float[np.ndarray, "n f"]:
        parts = [reading.onehot for reading in self.readings]
        tallies = [reading.tallies for reading in self.readings]
        statistics = [np.log(reading.statistics) for reading in self.readings[:1]]
        counts = np.hstack([*tallies, *statistics])
        spread = np.ptp(counts, axis=0)
        counts = (counts - counts.min(0)[None, :]) / np.where(spread > 0, spread, 1.0)[None, :]
        return np.hstack([*parts, counts])

    def smoothed_ms(self, device: str) -> Float[np.ndarray, " n"]:
        """A device's latencies as its architectures explain them, for all networks."""
        if device not in self._smoothed:
            values = self.latency_ms[device].to_numpy(np.float64)
            known = np.isfinite(values)
            smooth = smooth_ms(self._features[known], values[known], self._features)
            self._smoothed[device] = smooth
        return self._smoothed[device]

    @cached_property
    def _smoothed(self) -> dict[str, Float[np.ndarray, " n"]]:
        """Those that were asked for: every new device has most of the others as sources."""
        return {}


def spaces(data: Path) -> list[str]:
    """Names of the folders that hold latencies of networks.

    Raises:
        InputError: there are none.
    """
    found = sorted(path.parent.name for path in data.glob(f"*/{LATENCIES}"))
    if not found:
        raise InputError(f"{data}: no folder in it has {ARCHS} and {LATENCIES}")
    return found


def read(folder: Path, latency_files: tuple[Path, ...] = ()) -> LatencyData:
    """Read a space.

    Args:
        folder: with `archs.parquet` and perhaps `splits.json`.
        latency_files: instead of `latency_ms.parquet`; their columns side by side.

    Raises:
        InputError: a file is missing or has no networks' numbers.
    """
    archs = _table(folder / ARCHS).sort_values(_KEY).set_index(_KEY, drop=False)
    files = latency_files or (folder / LATENCIES,)
    parts = [_latencies(file, archs) for file in files]
    latency_ms: Any = pd.concat(parts, axis=1)
    latency_ms.attrs["long"] = sum((part.attrs.get("long", ()) for part in parts), ())
    splits = json.loads((folder / SPLITS).read_text()) if (folder / SPLITS).exists() else {}
    numbers = archs[_KEY].to_numpy()
    small = splits.get("help_num_meta_train_sample", 4000) < _QUERY.start
    query = np.flatnonzero(np.isin(numbers, _QUERY_SMALL if small else _QUERY))
    reference = np.searchsorted(numbers, splits.get("hw_embedding_ref_idx", []))
    return LatencyData(folder.name, _describe(archs), latency_ms, query, reference)


def _table(path: Path) -> Any:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None
    if _KEY not in table:
        raise InputError(f"{path}: has no column {_KEY!r}")
    return table


def _latencies(path: Path, archs: Any) -> Any:
    """A column a device, in the order of the architectures."""
    table = _table(path)
    long = set(_LONG) <= set(table)
    if long:
        name = table[list(_LONG)].astype(str).agg("_".join, axis=1)
        table = table.assign(column=name).pivot(index=_KEY, columns="column", values=_LONG_VALUE)
        # Networks that are alike once they are pruned were measured once.
        of = archs["iso_rep_idx"] if "iso_rep_idx" in archs else archs[_KEY]
        table = table.reindex(of.to_numpy()).set_index(archs.index)
    else:
        table = table.set_index(_KEY).reindex(archs.index)
    table.attrs["long"] = tuple(table.columns) if long else ()
    return table


def _describe(archs: Any) -> tuple[Description, ...]:
    integers = archs.select_dtypes("integer")
    choices = integers[[c for c in integers if not c.endswith("_idx")]]
    statistics = archs.select_dtypes("floating")
    statistics = statistics.to_numpy(np.float64)
    edges = [_EDGE.fullmatch(name) for name in choices]
    if edges and all(edges):
        ops = choices.to_numpy()
        ends = [(int(m[1]), int(m[2])) for m in edges if m]
        executed = np.where(_reached(ops != 0, ends), ops, 0)
        return tuple(_description([(c, None)], statistics) for c in (ops, executed))
    return (_description(_layers(choices), statistics),)


def _layers(choices: Any) -> list[tuple[np.ndarray, Bool[np.ndarray, "n k"] | None]]:
    """Choices of each kind, `prefix_number` in the columns, and which of them are in use.

    Columns `d_i` are depths of stages: of a stage's layers only so many exist.
    """
    kinds: dict[str, list[str]] = {}
    for name in choices:
        kinds.setdefault(re.sub(r"_\d+$", "", name), []).append(name)
    values = {kind: choices[names].to_numpy() for kind, names in kinds.items()}
    depths: Any = values.get("d")
    out = []
    stages = 0 if depths is None else depths.shape[1]
    for of in values.values():
        used = None
        if depths is not None and of.shape[1] > stages and of.shape[1] % stages == 0:
            layer = np.arange(of.shape[1] // stages)
            used = (layer[None, None, :] < depths[:, :, None]).reshape(len(of), -1)
        out.append((of, used))
    return out


def _description(
    kinds: list[tuple[np.ndarray, Bool[np.ndarray, "n k"] | None]],
    statistics: Float[np.ndarray, "n s"],
) -> Description:
    onehots, tallies = [], []
    for values, used in kinds:
        options = np.unique(values)
        taken = values[:, :, None] == options[None, None, :]
        if used is not None:
            taken &= used[:, :, None]
        onehots.append(taken.reshape(len(values), -1))
        tallies.append(taken.sum(1))
    return Description(
        np.hstack(onehots).astype(np.float32),
        np.hstack(tallies).astype(np.float64),
        statistics,
    )


def _reached(live: Bool[np.ndarray, "n e"], ends: list[tuple[int, int]]) -> Bool[np.ndarray, "n e"]:
    """Which edges of a cell lie on a way from its input to its output.

    Args:
        live: edges whose operation passes something on.
        ends: target and source of each edge.
    """
    last = max(target for target, _ in ends)
    forward = {0: np.ones(len(live), bool)}
    for node in range(1, last + 1):
        into = [(e, s) for e, (t, s) in enumerate(ends) if t == node]
        forward[node] = np.any([live[:, e] & forward[s] for e, s in into], axis=0)
    backward = {last: np.ones(len(live), bool)}
    for node in range(last - 1, -1, -1):
        out = [(e, t) for e, (t, s) in enumerate(ends) if s == node]
        backward[node] = np.any([live[:, e] & backward[t] for e, t in out], axis=0)
    on_way = [forward[s] & backward[t] for t, s in ends]
    return live & np.stack(on_way, axis=1)
