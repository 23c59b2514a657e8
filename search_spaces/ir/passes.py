"""Graph-to-graph passes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from search_spaces.ir.graph import Graph, Node
from search_spaces.ir.ops import LINEAR, OPS, GraphError, make_node
from search_spaces.ir.verify import verify

Params = Mapping[str, Mapping[str, Any]]


def _norms(graph: Graph) -> dict[str, Node]:
    """Batch norms by the name of the linear node that they follow.

    Raises:
        GraphError: a batch norm follows another op, or its input is read by others too.
    """
    norms = {}
    for node in graph.nodes:
        if node.op != "batch_norm":
            continue
        source = graph.by_name.get(node.inputs[0])
        if source is None or source.op not in LINEAR or len(graph.readers[source.name]) > 1:
            raise GraphError(f"{node.name}: batch_norm must follow a linear op read by it alone")
        norms[source.name] = node
    return norms


def fold_batchnorm(graph: Graph) -> Graph:
    """The (super-)graph with each batch norm turned into a bias of the linear op before it."""
    norms = _norms(graph)
    renames = {norm.name: source for source, norm in norms.items()}
    types = dict(graph.inputs)
    nodes = []
    for node in graph.nodes:
        if node.op == "batch_norm":
            continue
        inputs = {renames.get(name, name): types[renames.get(name, name)] for name in node.inputs}
        attrs = {**node.attrs, "bias": True} if node.name in norms else node.attrs
        nodes.append(make_node(node.name, node.op, inputs, attrs))
        types[node.name] = nodes[-1].out
    outputs = tuple(renames.get(name, name) for name in graph.outputs)
    is_super = any(OPS[node.op].super_only for node in nodes)
    return verify(replace(graph, nodes=tuple(nodes), outputs=outputs), is_super=is_super)


def fold_params(graph: Graph, params: Params, stats: Params) -> dict[str, dict[str, Any]]:
    """Parameters of `fold_batchnorm(graph)` in float32.

    Args:
        graph: the graph with its batch norms.
        params: its parameters: NumPy arrays, with which it is computed in float64, or JAX arrays.
        stats: `mean` and `var` of each batch norm.
    """
    norms = _norms(graph)
    out = {}
    for node in graph.nodes:
        if node.op == "batch_norm" or not node.params:
            continue
        own = {name: _exact(value) for name, value in params[node.name].items()}
        norm = norms.get(node.name)
        if norm is not None:
            mean, var = (_exact(stats[norm.name][k]) for k in ("mean", "var"))
            scale, bias = (_exact(params[norm.name][k]) for k in ("scale", "bias"))
            factor = scale / (var + float(str(norm.attrs["epsilon"]))) ** 0.5
            weight = own["weight"]
            own = {
                "weight": weight * factor.reshape((1,) * (weight.ndim - 1) + factor.shape),
                "bias": bias + (own.get("bias", 0.0) - mean) * factor,
            }
        out[node.name] = {name: value.astype(np.float32) for name, value in own.items()}
    return out


def _exact(value: Any) -> Any:
    return value.astype(np.float64) if isinstance(value, np.ndarray) else value
