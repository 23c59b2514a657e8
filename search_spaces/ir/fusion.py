"""Which nodes of a graph our kernels compute together."""

from collections.abc import Mapping
from dataclasses import dataclass

from kernels.epilogue import ACTIVATIONS
from search_spaces.ir.graph import Graph, Node

# Ops with kernels of their own, and what these are told of a masked node: the axes of a parameter.
LIVE_AXES: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "conv": ("weight", (0, 2, 3)),
    "depthwise": ("weight", (0, 2)),
    "pointwise": ("weight", (0, 1)),
    "batch_norm": ("scale", (0,)),
}


def fused_activations(graph: Graph) -> dict[str, Node]:
    """Activations that alone read a node of our kernels, by its name: one pass computes both."""
    readers = graph.readers
    return {
        node.name: readers[node.name][0]
        for node in graph.nodes
        if node.op in LIVE_AXES
        and node.name not in graph.outputs
        and [reader.op in ACTIVATIONS for reader in readers.get(node.name, ())] == [True]
    }


@dataclass(frozen=True)
class InvertedResidual:
    """The nodes of an inverted residual with folded batch norm.

    Args:
        expand: the first pointwise convolution, if there is one.
        depthwise: the convolution in the middle.
        project: the last pointwise convolution.
        activation: the op after the first two.
        add: the node that adds the block's input, if there is one.
    """

    expand: Node | None
    depthwise: Node
    project: Node
    activation: str
    add: Node | None

    @property
    def input(self) -> str:
        """The tensor that the block reads."""
        return (self.expand or self.depthwise).inputs[0]

    @property
    def output(self) -> Node:
        """The node that the rest of the graph reads."""
        return self.add or self.project


def inverted_residuals(graph: Graph) -> dict[str, InvertedResidual]:
    """The blocks of a graph by the name of each of their nodes; no other node reads inside."""
    readers = graph.readers
    activations = fused_activations(graph)
    behind = {after.name: graph.by_name[name] for name, after in activations.items()}
    out: dict[str, InvertedResidual] = {}
    for project in graph.nodes:
        depthwise = _sole_source(project, "depthwise", behind, readers)
        if project.op != "pointwise" or project.name in activations or depthwise is None:
            continue
        expand = _sole_source(depthwise, "pointwise", behind, readers)
        kinds = {activations[node.name].op for node in (expand, depthwise) if node is not None}
        convolutions = [node for node in (expand, depthwise, project) if node is not None]
        if len(kinds) > 1 or any("bias" not in node.params for node in convolutions):
            continue
        source = (expand or depthwise).inputs[0]
        after = readers.get(project.name, [])
        adds = [node.op for node in after] == ["add"] and set(after[0].inputs) == {
            source,
            project.name,
        }
        add = after[0] if adds else None
        block = InvertedResidual(expand, depthwise, project, kinds.pop(), add)
        names = [node.name for node in convolutions] + ([add.name] if add else [])
        names += [activations[node.name].name for node in convolutions[:-1]]
        if not (set(names) - {block.output.name}) & set(graph.outputs):
            out |= dict.fromkeys(names, block)
    return out


def _sole_source(
    node: Node, op: str, behind: Mapping[str, Node], readers: Mapping[str, list[Node]]
) -> Node | None:
    """The node of that kind, with its activation, whose only reader this one is."""
    source = behind.get(node.inputs[0]) if node.inputs else None
    alone = source is not None and len(readers[node.inputs[0]]) == 1
    return source if source is not None and alone and source.op == op else None
