"""The typed op graph that everything else is derived from.

A `Graph` is a list of nodes in topological order. Shapes are concrete, channels last, and leave
the batch out: an image is `(height, width, channels)`, a feature vector `(features,)`. Node names
match `[a-z0-9_/]+`; they become ONNX tensor names and C symbols, and they tie a sub-network to the
super-graph: a node's parameters are the slice of the super-graph's parameters of that name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from math import prod

from search_spaces.ir.patches import BlockPatches, Patches

Attr = int | float | str | bool | tuple[int, ...]


class DType(StrEnum):
    """Element type of a tensor."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"

    @property
    def itemsize(self) -> int:
        """Bytes an element takes."""
        return {"float32": 4, "int8": 1, "uint8": 1}[self.value]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (channels last, batch left out) and element type of a tensor."""

    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT32

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes for one example."""
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """A parameter of a node.

    Args:
        shape: its shape.
        init: name of the initialiser, one of `he_normal`, `lecun_normal`, `zeros`, `ones`.
        fan_in: number of inputs that one output sums over, for the two normal initialisers.
        centred: axes from which a smaller parameter is cut around the middle (kernel axes); from
            every other axis it is cut as a prefix.
    """

    shape: tuple[int, ...]
    init: str
    fan_in: int = 1
    centred: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: the tensor that it makes carries its name."""

    name: str
    op: str
    inputs: tuple[str, ...]
    out: TensorType
    params: Mapping[str, ParamSpec] = field(default_factory=dict)
    attrs: Mapping[str, Attr] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, with named inputs and outputs.

    Args:
        inputs: types of the input tensors.
        nodes: the operations, each after those that it reads.
        outputs: names of the tensors that the network returns.
        blocks: names of the blocks, in order; a node belongs to block `b` when its name starts
            with `b/`. Blocks are the unit of measurement on devices.
        patches: which part of it microcontrollers run patch by patch; None for nothing.
    """

    inputs: Mapping[str, TensorType]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    patches: Patches | BlockPatches | None = None

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Nodes by their name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def readers(self) -> Mapping[str, list[Node]]:
        """The nodes that read each tensor; a tensor that none reads is not listed."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        return readers

    def type_of(self, tensor: str) -> TensorType:
        """Type of an input or of a node's output."""
        return self.inputs[tensor] if tensor in self.inputs else self.by_name[tensor].out

    def digest(self) -> str:
        """Hash of everything in the graph: equal for equal graphs, on every machine."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        from search_spaces.ir.serialize import to_dict

        text = json.dumps(to_dict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def renamed(self, prefix: str, replacement: str = "") -> "Graph":
        """The same graph with a leading `prefix` of every node name replaced."""

        def new(name: str) -> str:
            return replacement + name[len(prefix) :] if name.startswith(prefix) else name

        nodes = tuple(
            replace(node, name=new(node.name), inputs=tuple(new(i) for i in node.inputs))
            for node in self.nodes
        )
        outputs = tuple(new(name) for name in self.outputs)
        return replace(self, nodes=nodes, outputs=outputs)
