"""The rules every graph keeps; run after each build and each pass."""

import re

from search_spaces.ir.graph import Graph
from search_spaces.ir.ops import OPS, GraphError, make_node

_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")


def verify(graph: Graph, *, is_super: bool = False) -> Graph:
    """Check a graph and return it.

    Checked: names are valid and unique, nodes stand after those that they read, types and
    parameters equal those worked out again from the inputs, outputs exist, and `gate` and `select`
    appear in super-graphs only.

    Raises:
        GraphError: naming the node and the rule that it breaks.
    """
    known = dict(graph.inputs)
    for name in known:
        _check_name(name)
    for node in graph.nodes:
        _check_name(node.name)
        if node.name in known:
            raise GraphError(f"{node.name}: the name is used twice")
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise GraphError(f"{node.name}: reads {missing[0]!r}, which does not come before it")
        if OPS.get(node.op) is not None and OPS[node.op].super_only and not is_super:
            raise GraphError(f"{node.name}: {node.op} may only stand in a super-graph")
        again = make_node(node.name, node.op, {n: known[n] for n in node.inputs}, node.attrs)
        if again.out != node.out or dict(again.params) != dict(node.params):
            raise GraphError(f"{node.name}: stored type {node.out.shape} is not {again.out.shape}")
        known[node.name] = node.out
    for name in graph.outputs:
        if name not in known:
            raise GraphError(f"output {name!r} is made by no node")
    return graph


def verify_within(graph: Graph, super_graph: Graph) -> None:
    """Check that every node of a sub-network is a node of the super-graph and fits inside it.

    Raises:
        GraphError: naming the node that has no counterpart, or is larger in some axis.
    """
    for node in graph.nodes:
        larger = super_graph.by_name.get(node.name)
        if larger is None or larger.op != node.op:
            raise GraphError(f"{node.name}: the super-graph has no {node.op} of that name")
        for name, spec in node.params.items():
            outer = larger.params[name].shape
            if len(outer) != len(spec.shape) or any(
                a > b for a, b in zip(spec.shape, outer, strict=True)
            ):
                raise GraphError(f"{node.name}/{name}: {spec.shape} does not fit into {outer}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise GraphError(f"{name!r}: names are made of a-z, 0-9, _ and /")
