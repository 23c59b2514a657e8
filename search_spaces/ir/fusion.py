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

# Ops that work on each channel by itself: what is dead before is dead after.
CHANNELWISE = ("global_pool", "hsigmoid")


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
class Scaled:
    """A map times a factor of each image and channel, which a pointwise convolution alone reads.

    Args:
        map: the name of the map.
        factors: the name of the factors, a map of one pixel.
        product: the node that multiplies them.
    """

    map: str
    factors: str
    product: Node

    @property
    def inputs(self) -> tuple[str, str]:
        """What the convolution reads in place of the product."""
        return self.map, self.factors


def scaled_inputs(graph: Graph) -> dict[str, Scaled]:
    """Such products by the name of the pointwise convolution, which multiplies as it reads."""
    found = {}
    for node in graph.nodes:
        product = graph.by_name.get(node.inputs[0]) if node.op == "pointwise" else None
        if product is None or product.op != "mul" or product.name in graph.outputs:
            continue
        left, right = product.inputs
        if graph.type_of(right).shape[:-1] != (1, 1):
            left, right = right, left
        if graph.type_of(right).shape[:-1] == (1, 1) and len(graph.readers[product.name]) == 1:
            found[node.name] = Scaled(left, right, product)
    return found


@dataclass(frozen=True)
class SqueezeExcite:
    """The pointwise convolutions that make a block's factors of its means, and all names."""

    squeeze: Node
    excite: Node
    names: tuple[str, ...]


@dataclass(frozen=True)
class InvertedResidual:
    """The nodes of an inverted residual with folded batch norm.

    Args:
        expand: the first pointwise convolution, if there is one.
        depthwise: the convolution in the middle.
        squeeze_excite: what scales the map after it, if there is that.
        project: the last pointwise convolution.
        activation: the op after the first two.
        add: the node that adds the block's input, if there is one.
    """

    expand: Node | None
    depthwise: Node
    squeeze_excite: SqueezeExcite | None
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
    scaled = scaled_inputs(graph)
    out: dict[str, InvertedResidual] = {}
    for project in graph.nodes:
        excited = _squeeze_excite(graph, scaled.get(project.name), behind)
        if excited is None:
            depthwise = _sole_source(project, "depthwise", behind, readers)
        else:
            depthwise = behind[scaled[project.name].map]
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
        block = InvertedResidual(expand, depthwise, excited, project, kinds.pop(), add)
        names = [node.name for node in convolutions] + ([add.name] if add else [])
        names += [activations[node.name].name for node in convolutions[:-1]]
        names += excited.names if excited else ()
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


def _squeeze_excite(
    graph: Graph, scaled: Scaled | None, behind: Mapping[str, Node]
) -> SqueezeExcite | None:
    """What makes the factors of an activated depthwise convolution of its own means, if it does.

    The means pass a pointwise convolution, relu, another one and a hard sigmoid, and nothing else
    reads any of this.
    """
    depthwise = None if scaled is None else behind.get(scaled.map)
    if scaled is None or depthwise is None or depthwise.op != "depthwise":
        return None
    gate = graph.by_name.get(scaled.factors)
    excite = graph.by_name.get(gate.inputs[0]) if gate and gate.op == "hsigmoid" else None
    squeeze = behind.get(excite.inputs[0]) if excite and excite.op == "pointwise" else None
    pool = graph.by_name.get(squeeze.inputs[0]) if squeeze and squeeze.op == "pointwise" else None
    if gate is None or excite is None or squeeze is None or pool is None:
        return None
    relu = graph.by_name[excite.inputs[0]]
    sole = (gate, excite, relu, pool)
    fits = (
        (pool.op, relu.op, pool.inputs[0]) == ("global_pool", "relu", scaled.map)
        and all("bias" in node.params for node in (squeeze, excite))
        and all(len(graph.readers[node.name]) == 1 for node in sole)
        and {node.name for node in graph.readers[scaled.map]} == {pool.name, scaled.product.name}
    )
    nodes = (pool, squeeze, relu, excite, gate, scaled.product)
    return SqueezeExcite(squeeze, excite, tuple(node.name for node in nodes)) if fits else None
