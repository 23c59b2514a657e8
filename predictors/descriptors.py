"""What an architecture is made of, in numbers that tell more of its accuracy than its choices do.

Everything follows from the graphs of a space. Of each stage: operations by kind, blocks, the
logarithm of its multiply-accumulates. Of each cell (`paths`), pruned: active operations by kind,
paths and how many are distinct, convolutions and pools along them, whether one computes nothing,
and how many paths there are of each sequence of operations. Chains have no cells, so that stages
and choices remain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Int

from predictors.paths import Cell, cell_of, find_cells, kind_of
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.builder import Condition
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph
from search_spaces.space import Archs, SearchSpace

# Architectures at a time: what is alive of a cell fits into the cache.
_CHUNK = 16_384
_SAMPLE = 2_000
# Columns whose correlation is nearer to 1 tell the same.
_SAME = 1e-9


@dataclass(frozen=True)
class Columns:
    """Named columns of one kind.

    Args:
        group: what kind: `stages`, `cells`, `sequences` or `choices`.
        names: of the columns.
        values: a row an architecture.
    """

    group: str
    names: tuple[str, ...]
    values: Float64[np.ndarray, "n f"]


class Descriptors:
    """The descriptors of a space; those that tell nothing, or the same as another, are left out.

    Args:
        space: of one that can't draw its networks, only the choices are known.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        drawn = space.has_networks
        cells = find_cells(space) if drawn else ()
        self._cells = tuple(_CellColumns(cell, i) for i, cell in enumerate(cells))
        self._stages = _Stages(BlockMap(space), cells) if drawn else None
        sample = self._columns(space.sample(np.random.default_rng(0), _SAMPLE))
        names = [name for part in sample for name in part.names]
        groups = [part.group for part in sample for _ in part.names]
        self._kept = _telling(np.concatenate([part.values for part in sample], axis=1), groups)
        self.names = tuple(names[i] for i in self._kept)
        self.groups = tuple(groups[i] for i in self._kept)
        self._macs = np.array([name.endswith(".macs") for name in self.names])

    def __call__(self, archs: Archs) -> Float64[np.ndarray, "n f"]:
        """A row an architecture, a column a descriptor."""
        out = np.empty((len(archs), len(self.names)))
        for start in range(0, len(archs), _CHUNK):
            parts = self._columns(archs[start : start + _CHUNK])
            every = np.concatenate([part.values for part in parts], axis=1)
            out[start : start + _CHUNK] = every[:, self._kept]
        out[:, self._macs] = np.log1p(out[:, self._macs])
        return out

    def _columns(self, archs: Archs) -> list[Columns]:
        """All of them, multiply-accumulates not yet as logarithms."""
        alive = [cell.alive(archs, self.space) for cell in self._cells]
        parts = [c for cell, own in zip(self._cells, alive, strict=True) for c in cell(own)]
        if self._stages is not None:
            parts.append(self._stages(archs, alive))
        return [*parts, _choices(self.space, archs)]


@lru_cache(maxsize=8)
def descriptors_of(space: SearchSpace) -> Descriptors:
    """The descriptors of a space, worked out once."""
    return Descriptors(space)


def _telling(values: Float64[np.ndarray, "n f"], groups: Sequence[str]) -> Int[np.ndarray, " k"]:
    """Columns that differ among the rows, each but for scale unlike those before it.

    Sequences and choices are wholes of their own: they are compared among themselves only.
    """
    spread = values.std(0)
    scaled = (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)
    alike = np.abs(scaled.T @ scaled) / len(values) > 1 - _SAME
    wholes = np.array([group if group in ("sequences", "choices") else "" for group in groups])
    alike &= wholes[:, None] == wholes[None, :]
    earlier = np.tril(alike, -1).any(1)
    return np.flatnonzero((spread > 0) & ~earlier)


def _choices(space: SearchSpace, archs: Archs) -> Columns:
    """Masked one-hot; of ordered knobs with more than two options the rank as well."""
    onehot = space.onehot(archs).astype(np.float64)
    names = [f"{knob.name}={option}" for knob in space.knobs for option in knob.options]
    ordered = [i for i, k in enumerate(space.knobs) if k.ordered and len(k.options) > 2]
    ranks = np.where(space.active(archs), archs, 0)[:, ordered] / (space.cardinality[ordered] - 1)
    names += [space.knobs[i].name for i in ordered]
    return Columns("choices", tuple(names), np.concatenate([onehot, ranks], axis=1))


class _CellColumns:
    """Descriptors of one kind of cell, all from one product with its paths."""

    def __init__(self, cell: Cell, number: int) -> None:
        self.cell = cell
        self._prefix = f"cell{number}." if number else ""
        paths = cell.paths
        self._kinds = sorted(set(cell.kind_of.values()))
        self._nodes = {
            kind: cell.through([frozenset({n}) for n, k in cell.kind_of.items() if k == kind])
            for kind in self._kinds
        }
        self._sequences = np.array(
            [[path.kinds == kinds for path in paths] for kinds in cell.sequences], np.float32
        )
        convs = np.array([sum(k != "pool" for k in path.kinds) for path in paths])
        pools = np.array([path.kinds.count("pool") for path in paths])
        self._lengths = {"convs": convs, "pools": pools}
        for kind in self._kinds:
            if kind.startswith(("conv", "depthwise")) and not kind.endswith("1x1"):
                self._lengths[kind] = np.array([path.kinds.count(kind) for path in paths])
        self._flags = {
            "paths": np.ones(len(paths), bool),
            "conv_paths": convs > 0,
            "pool_paths": (convs == 0) & (pools > 0),
            "free_paths": convs == 0,
            "identity_paths": (convs == 0) & (pools == 0),
        }

    def alive(self, archs: Archs, space: SearchSpace) -> Float32[np.ndarray, "p n"]:
        """1 for each path that an architecture has."""
        return self.cell.alive(archs, list(map(int, space.cardinality))).astype(np.float32)

    def __call__(self, alive: Float32[np.ndarray, "p n"]) -> list[Columns]:
        """Of the operations and paths that are alive."""
        out: dict[str, np.ndarray] = {}
        for kind, through in self._nodes.items():
            out[f"active_{kind}"] = (through @ alive > 0).sum(0)
        convs = [out[f"active_{k}"] for k in self._kinds if k not in ("pool", "skip")]
        out["active_convs"] = np.sum(convs, axis=0)
        total = {name: np.float32(flag) @ alive for name, flag in self._flags.items()}
        out |= {name: total[name] for name in ("paths", "conv_paths", "pool_paths")}
        out |= {name: total[name] > 0 for name in ("free_paths", "identity_paths")}
        out["dead"] = total["paths"] == 0
        counts = self._sequences @ alive
        out["distinct_paths"] = (counts > 0).sum(0)
        for name, lengths in self._lengths.items():
            out[f"most_{name}"] = _most(lengths, alive)
            out[f"mean_{name}"] = np.float32(lengths) @ alive / np.maximum(total["paths"], 1)
            if name in ("convs", "pools"):
                longest = int(lengths.max())
                # 0 where nothing is alive, as the most is.
                least = longest - _most(longest - lengths, alive)
                out[f"least_{name}"] = np.where(total["paths"] > 0, least, 0)
        names = tuple(self._prefix + name for name in out)
        values = np.stack([np.asarray(v, np.float64) for v in out.values()], axis=1)
        labels = tuple(self._prefix + "-".join(s or ("identity",)) for s in self.cell.sequences)
        roots = np.sqrt(counts.T.astype(np.float64))
        return [Columns("cells", names, values), Columns("sequences", labels, roots)]


def _most(
    lengths: Int[np.ndarray, " p"], alive: Float32[np.ndarray, "p n"]
) -> Int[np.ndarray, " n"]:
    """The longest of the paths that are alive, 0 where there is none."""
    levels = np.arange(1, int(lengths.max()) + 1)
    reached = (lengths[None, :] >= levels[:, None]).astype(np.float32)
    return (reached @ alive > 0).sum(0)


@dataclass(frozen=True, eq=False)
class _Table:
    """Blocks of a stage that depend on the same knobs in the same way, added up.

    Args:
        stage: number of the stage.
        knobs: what the quantities depend on, in mixed radix.
        conditions: choices of other knobs under which the blocks are present.
        cell: number of the cell that they are part of, if they are.
        through: 1 for each path of that cell that passes them.
        values: the quantities for each combination of options.
    """

    stage: int
    knobs: tuple[int, ...]
    conditions: tuple[Condition, ...]
    cell: int | None
    through: Float32[np.ndarray, " p"]
    values: Float64[np.ndarray, "combinations q"]

    @property
    def key(self) -> tuple:
        """Equal for tables that can be added."""
        return self.stage, self.knobs, self.conditions, self.cell, self.through.tobytes()


class _Stages:
    """Operations by kind, blocks and multiply-accumulates of each stage and in all."""

    def __init__(self, blocks: BlockMap, cells: Sequence[Cell]) -> None:
        self._blocks = blocks
        kinds = sorted({k for unit in blocks.units for k in _kinds(unit)})
        self._quantities = (*kinds, "blocks", "macs")
        per_unit = np.array(
            [
                [*(_kinds(unit).count(kind) for kind in kinds), 1, count(unit).macs]
                for unit in blocks.units
            ],
            np.float64,
        )
        self._names = tuple(dict.fromkeys(slot.name.split("/")[0] for slot in blocks.slots))
        tables: dict[tuple, _Table] = {}
        for slot in blocks.slots:
            stage = self._names.index(slot.name.split("/")[0])
            cell, through = cell_of(slot.name, cells)
            values = per_unit[slot.units]
            table = _Table(stage, slot.knobs, slot.conditions, cell, through, values)
            known = tables.get(table.key)
            total = values if known is None else known.values + values
            tables[table.key] = replace(table, values=total)
        self._tables = tuple(tables.values())

    def __call__(self, archs: Archs, alive: Sequence[Float32[np.ndarray, "_ n"]]) -> Columns:
        """Sums over what is present and lies on a path."""
        sums = np.zeros((len(self._names), len(archs), len(self._quantities)))
        for table in self._tables:
            present = self._blocks.space.holds(archs, table.conditions)
            if table.cell is not None:
                present &= table.through @ alive[table.cell] > 0
            rows = table.values[self._blocks.radix(archs, table.knobs)]
            sums[table.stage] += rows * present[:, None]
        every = np.concatenate([sums.sum(0)[None], sums])
        values = every.transpose(1, 0, 2).reshape(len(archs), -1)
        names = [f"{s}.{q}" for s in ("all", *self._names) for q in self._quantities]
        return Columns("stages", tuple(names), values)


def _kinds(unit: Graph) -> list[str]:
    return [kind for kind in map(kind_of, unit.nodes) if kind]
