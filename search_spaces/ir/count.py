"""Multiply-accumulates, parameters and bytes of a graph."""

from dataclasses import dataclass

from rich.table import Table

from search_spaces.ir.graph import Graph, Node
from search_spaces.ir.ops import macs


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over a graph, for one example.

    Args:
        macs: multiply-accumulates of convolutions and dense layers.
        params: trained values: weights, biases, batch norm's scale and bias.
        param_bytes: bytes of the parameters.
        activation_bytes: bytes of all tensors that are written.
    """

    macs: int
    params: int
    param_bytes: int
    activation_bytes: int


def count(graph: Graph) -> Counts:
    """Costs of a graph that follow from its shapes alone."""
    params = sum(spec.size for node in graph.nodes for spec in node.params.values())
    param_bytes = sum(_param_bytes(graph, node) for node in graph.nodes)
    written = sum(node.out.nbytes for node in graph.nodes)
    return Counts(sum(map(macs, graph.nodes)), params, param_bytes, written)


def _param_bytes(graph: Graph, node: Node) -> int:
    """Four bytes a value, but one for the weights of a node that reads 8 bits."""
    source = graph.type_of(node.inputs[0]).dtype
    return sum(
        spec.size * (source.itemsize if name == "weight" else 4)
        for name, spec in node.params.items()
    )


def table(graph: Graph) -> Table:
    """One row a node, for a terminal."""
    out = Table("node", "op", "output", "params", "MACs", title=f"graph {graph.digest()}")
    for node in graph.nodes:
        shape = "x".join(map(str, node.out.shape))
        params = sum(spec.size for spec in node.params.values())
        out.add_row(node.name, node.op, shape, f"{params:,}", f"{macs(node):,}")
    total = count(graph)
    out.add_section()
    out.add_row("total", "", "", f"{total.params:,}", f"{total.macs:,}")
    return out
