"""The ways that a signal can take through a cell, for whole populations at once.

A cell is a part of the super-graph between two nodes that every path passes, in which two or more
knobs choose between branches. All its paths are listed once, each with the choices under which it
exists; which of them an architecture has is then a few look-ups, and what is worth knowing of them
(how many there are, of which operations, how deep) a product of matrices.

Edges that no signal reaches, or that lead nowhere, lie on no path: they are pruned by definition.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32

from search_spaces.ir.graph import Graph, Node
from search_spaces.space import Archs, SearchSpace

# A cell with more paths than this is left to the counts of its operations.
_MOST_PATHS = 4096

# The options of a knob under which something exists: index of the knob, options.
Literal = tuple[int, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Path:
    """One way through a cell.

    Args:
        nodes: what it passes, in order, named from the start of what all of the cell's nodes share.
        kinds: the operations among them that compute something, in order.
        literals: the choices that make it exist, all of them.
    """

    nodes: tuple[str, ...]
    kinds: tuple[str, ...]
    literals: frozenset[Literal]


@dataclass(frozen=True)
class Cell:
    """The paths of one cell, or of several equal ones.

    Args:
        prefixes: where its copies stand: what their nodes' names begin with.
        paths: all of them.
        kind_of: of the nodes that count as an operation, its kind; `skip` for an identity.
    """

    prefixes: tuple[str, ...]
    paths: tuple[Path, ...]
    kind_of: Mapping[str, str]

    def alive(self, archs: Archs, cardinality: Sequence[int]) -> Bool[np.ndarray, "p n"]:
        """Which paths each architecture has."""
        literals = sorted({x for path in self.paths for x in path.literals}, key=repr)
        met = {}
        for knob, options in literals:
            allowed = np.isin(np.arange(cardinality[knob]), list(options))
            met[knob, options] = allowed[archs[:, knob]]
        out = np.ones((len(self.paths), len(archs)), bool)
        for row, path in zip(out, self.paths, strict=True):
            for literal in path.literals:
                row &= met[literal]
        return out

    @cached_property
    def sequences(self) -> tuple[tuple[str, ...], ...]:
        """The distinct sequences of operations, the shortest first."""
        found = {path.kinds for path in self.paths}
        return tuple(sorted(found, key=lambda kinds: (len(kinds), kinds)))

    def through(self, nodes: Sequence[frozenset[str]]) -> Float32[np.ndarray, "k p"]:
        """1 where a path passes any node of a set, 0 elsewhere."""
        rows = [[not own.isdisjoint(path.nodes) for path in self.paths] for own in nodes]
        return np.array(rows, np.float32).reshape(len(nodes), len(self.paths))

    def through_block(self, block: str) -> Float32[np.ndarray, " p"] | None:
        """1 for each path through a block; None if the block stands in no copy of the cell."""
        for prefix in self.prefixes:
            if block.startswith(prefix):
                local = f"{block}/".removeprefix(prefix)
                names = {n for path in self.paths for n in path.nodes if n.startswith(local)}
                return self.through([frozenset(names)])[0]
        return None


def cell_of(block: str, cells: Sequence[Cell]) -> tuple[int | None, Float32[np.ndarray, " p"]]:
    """Number of the cell that a block is part of, and 1 for each path through the block."""
    for i, cell in enumerate(cells):
        through = cell.through_block(block)
        if through is not None:
            return i, through
    return None, np.zeros(0, np.float32)


def kind_of(node: Node) -> str | None:
    """What a node counts as: a convolution of some size, a pool, or nothing."""
    if node.op in ("conv", "depthwise"):
        size = f"{node.attrs['kernel']}x{node.attrs['kernel']}"
        return ("conv" if node.op == "conv" else "depthwise") + size
    return {"pointwise": "conv1x1", "max_pool": "pool", "avg_pool": "pool"}.get(node.op)


def find_cells(space: SearchSpace) -> tuple[Cell, ...]:
    """The distinct cells of a space; none where its networks are chains."""
    graph = space.build(None)
    cells: dict[tuple[Path, ...], Cell] = {}
    for start, end, inside in _segments(graph):
        knobs = {str(graph.by_name[n].attrs["knob"]) for n in inside if _chooses(graph, n)}
        if len(knobs) < 2:
            continue
        prefix = _shared_scope(inside)
        paths = _list_paths(space, graph, start, end, prefix)
        if paths is None:
            continue
        kinds = {n: _kind_or_skip(graph.by_name[n]) for n in inside}
        named = {n.removeprefix(prefix): kind for n, kind in kinds.items() if kind}
        known = cells.get(paths)
        prefixes = (*known.prefixes, prefix) if known else (prefix,)
        cells[paths] = Cell(prefixes, paths, named)
    return tuple(cells.values())


def _kind_or_skip(node: Node) -> str | None:
    return "skip" if node.op == "identity" else kind_of(node)


def _chooses(graph: Graph, name: str) -> bool:
    return graph.by_name[name].op == "select"


def _segments(graph: Graph) -> Iterator[tuple[str, str, list[str]]]:
    """Start, end and all later nodes up to the end, between nodes that every path passes."""
    names = [*graph.inputs, *graph.by_name]
    before = dict.fromkeys(graph.inputs, 1)
    for node in graph.nodes:
        before[node.name] = sum(before[name] for name in node.inputs)
    after = {name: int(name in graph.outputs) for name in names}
    for node in reversed(graph.nodes):
        for name in node.inputs:
            after[name] += after[node.name]
    total = sum(before[name] for name in graph.outputs)
    passed = [i for i, name in enumerate(names) if before[name] * after[name] == total]
    for first, last in pairwise(passed):
        yield names[first], names[last], names[first + 1 : last + 1]


def _shared_scope(names: Sequence[str]) -> str:
    """The scopes that all names lie in, with the slash at the end."""
    parts = [name.split("/")[:-1] for name in names]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "".join(f"{part}/" for part in shared)


def _list_paths(
    space: SearchSpace, graph: Graph, start: str, end: str, prefix: str
) -> tuple[Path, ...] | None:
    """Every path from the output of `start` to that of `end`; None where there are too many."""
    partial: dict[str, list[Path]] = {start: [Path((), (), frozenset())]}
    order = list(graph.by_name)
    first = order.index(start) + 1 if start in graph.by_name else 0
    for name in order[first : order.index(end) + 1]:
        node = graph.by_name[name]
        found = []
        for place, source in enumerate(node.inputs):
            literals = _literals(space, node, place)
            for path in partial.get(source, []) if node.op != "zero" else []:
                kind = kind_of(node)
                found.append(
                    Path(
                        (*path.nodes, name.removeprefix(prefix)),
                        (*path.kinds, kind) if kind else path.kinds,
                        path.literals | literals,
                    )
                )
        if len(found) > _MOST_PATHS:
            return None
        partial[name] = [path for path in found if _possible(path)]
    return tuple(partial[end])


def _literals(space: SearchSpace, node: Node, place: int) -> frozenset[Literal]:
    """The choices under which a node passes on its input at a place."""
    if node.op not in ("select", "gate"):
        return frozenset()
    knob = space.knob_index[str(node.attrs["knob"])]
    if node.op == "select":
        return frozenset({(knob, frozenset({place}))})
    deep = frozenset(
        i
        for i, depth in enumerate(space.knobs[knob].options)
        if int(depth) > int(str(node.attrs["index"]))
    )
    every = frozenset(range(len(space.knobs[knob].options)))
    return frozenset({(knob, deep if place == 0 else every - deep)})


def _possible(path: Path) -> bool:
    """Whether the choices do not exclude one another."""
    allowed: dict[int, frozenset[int]] = {}
    for knob, options in path.literals:
        allowed[knob] = allowed.get(knob, options) & options
    return all(allowed.values())
