"""Published accuracies as labelled architectures of our spaces, found by a folder's layout."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int, Num

from search_spaces import registry
from search_spaces.errors import InputError
from search_spaces.ir.blocks import BlockMap
from search_spaces.space import Archs, Knob, SearchSpace

_MILLION = 1e6


@dataclass(frozen=True)
class Labelled:
    """A table of trained networks.

    Args:
        name: of its folder.
        space: where the architectures come from.
        archs: a row a network.
        labels: accuracies in percent, by the name of their column.
        macs: of each network.
        runs: number of the file that each row comes from.
        files: names of the files.
    """

    name: str
    space: SearchSpace
    archs: Archs
    labels: Mapping[str, Float64[np.ndarray, " n"]]
    macs: Num[np.ndarray, " n"]
    runs: Int[np.ndarray, " n"]
    files: tuple[str, ...]


@dataclass(frozen=True)
class ColumnSpace(SearchSpace):
    """A space of which only the choices are known: each column of a table is a knob.

    Args:
        columns: names and values, ascending.
    """

    name = "columns"
    version = 1
    has_networks = False

    columns: tuple[tuple[str, tuple[float, ...]], ...]

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """One for each column."""
        return tuple(Knob(name, values) for name, values in self.columns)

    def active(self, archs: Archs) -> np.ndarray:
        """All of them, always."""
        return np.ones(archs.shape, bool)


def load_tables(data: Path) -> list[Labelled]:
    """All tables of accuracies in a folder: one for each sub-folder whose layout is known.

    Raises:
        InputError: there is none.
    """
    found = []
    for folder in sorted(path for path in data.glob("*") if path.is_dir()):
        frames = {f.stem: pd.read_parquet(f) for f in sorted(folder.glob("*.parquet"))}
        for fits, read in _LAYOUTS:
            if fits(frames):
                found.append(read(folder.name, frames))
                break
    if not found:
        raise InputError(f"--data {data}: no folder there holds labelled architectures")
    return found


Frames = Mapping[str, pd.DataFrame]


def _is_cells(frames: Frames) -> bool:
    return {"archs", "accuracy"} <= frames.keys() and bool(_numbered(frames["archs"], "op_e"))


def _cells(name: str, frames: Frames) -> Labelled:
    """Operations of edges, numbered as in NAS-Bench-201, and a file of accuracies."""
    archs, accuracy = frames["archs"], frames["accuracy"]
    table = archs.merge(accuracy, on="arch_idx")
    metrics = [c for c in accuracy.columns if c != "arch_idx"]
    choices = table[_numbered(archs, "op_e")].to_numpy(np.int64)
    return _of_space(name, "nasbench201", choices, table, metrics)


def _is_layers(frames: Frames) -> bool:
    return any(bool(_numbered(f, "b")) and "arch" in f for f in frames.values())


def _layers(name: str, frames: Frames) -> Labelled:
    """Choices of layers, numbered as in NAS-Bench-Macro."""
    table = next(f for f in frames.values() if _numbered(f, "b"))
    metrics = [c for c in table.columns if "acc" in c]
    return _of_space(
        name, "nasbench_macro", table[_numbered(table, "b")].to_numpy(), table, metrics
    )


def _of_space(
    name: str, space_name: str, choices: np.ndarray, table: pd.DataFrame, metrics: list[str]
) -> Labelled:
    space = registry.create(space_name)
    resolution = np.zeros((len(choices), len(space.knobs) - choices.shape[1]), np.int64)
    archs = np.concatenate([resolution, choices.astype(np.int64)], axis=1)
    return _labelled(name, space, archs, table, metrics, np.zeros(len(table), np.int64), (name,))


def _is_runs(frames: Frames) -> bool:
    return bool(frames) and all({"ks_0", "e_0", "d_0", "r"} <= set(f) for f in frames.values())


def _runs(name: str, frames: Frames) -> Labelled:
    """Kernels, expansions and depths of a Once-for-All MobileNetV3, a file a search run."""
    table = pd.concat(frames.values(), ignore_index=True)
    sizes = [len(frame) for frame in frames.values()]
    columns = {"kernel": "ks", "expand": "e"}
    resolution = tuple(int(r) for r in sorted(table["r"].unique()))
    space = registry.create("mobilenet_v3", resolution=resolution)
    blocks = len(_numbered(table, "ks_")) // len(_numbered(table, "d_"))
    archs = np.zeros((len(table), len(space.knobs)), np.int64)
    for i, knob in enumerate(space.knobs):
        stage, *rest = knob.name.split(".")
        if knob.name == "resolution":
            column = "r"
        elif rest == ["depth"]:
            column = f"d_{stage[1:]}"
        else:
            column = f"{columns[rest[1]]}_{int(stage[1:]) * blocks + int(rest[0][1:])}"
        archs[:, i] = [knob.options.index(value) for value in table[column]]
    known = {*(c for c in table if c.split("_")[0] in ("ks", "e", "d")), "r", "eval_order", "date"}
    metrics = [c for c in table if c not in known and c not in ("macs", "params")]
    runs = np.repeat(np.arange(len(frames)), sizes)
    return _labelled(name, space, space.canonical(archs), table, metrics, runs, tuple(frames))


def _is_columns(frames: Frames) -> bool:
    return any({"block0_e", "macs"} <= set(f) for f in frames.values())


def _columns(name: str, frames: Frames) -> Labelled:
    """Choices of blocks in columns, of a space that hwnas can't draw; MACs in millions."""
    table = next(f for f in frames.values() if "block0_e" in f)
    metrics = [c for c in table if "top" in c]
    table = table.dropna(subset=metrics)
    knobs = [c for c in table.columns if c.startswith("block") and len(set(table[c])) > 1]
    values = tuple((c, tuple(float(v) for v in sorted(table[c].unique()))) for c in knobs)
    archs = np.stack([np.searchsorted(v, table[c].to_numpy(float)) for c, v in values], axis=1)
    labels = {c: table[c].to_numpy(np.float64) for c in metrics}
    macs = table["macs"].to_numpy(np.float64) * _MILLION
    runs = np.zeros(len(table), np.int64)
    return Labelled(name, ColumnSpace(values), archs, labels, macs, runs, (name,))


def _labelled(
    name: str,
    space: SearchSpace,
    archs: Archs,
    table: pd.DataFrame,
    metrics: list[str],
    runs: Int[np.ndarray, " n"],
    files: tuple[str, ...],
) -> Labelled:
    blocks = BlockMap(space)
    labels = {c: table[c].to_numpy(np.float64) for c in metrics}
    return Labelled(name, space, archs, labels, blocks.total(blocks.macs, archs), runs, files)


def _numbered(table: pd.DataFrame, prefix: str) -> list[str]:
    """Columns that are a prefix and a number."""
    return [c for c in table if c.startswith(prefix) and c[len(prefix) :].isdigit()]


_LAYOUTS: tuple[tuple[Callable[[Frames], bool], Callable[[str, Frames], Labelled]], ...] = (
    (_is_cells, _cells),
    (_is_layers, _layers),
    (_is_runs, _runs),
    (_is_columns, _columns),
)
