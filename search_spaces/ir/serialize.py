"""Graphs as JSON, with a version, and back."""

from dataclasses import asdict
from typing import Any

from search_spaces.errors import InputError
from search_spaces.ir.graph import Attr, DType, Graph, TensorType
from search_spaces.ir.ops import make_node
from search_spaces.ir.patches import BlockPatches, Patches
from search_spaces.ir.verify import verify

VERSION = 1


def to_dict(graph: Graph) -> dict[str, Any]:
    """The graph as JSON-able data. Parameters' shapes follow from inputs and attributes."""
    return {
        "version": VERSION,
        "inputs": {name: _type(tensor) for name, tensor in graph.inputs.items()},
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                "inputs": list(node.inputs),
                "attrs": {k: list(v) if isinstance(v, tuple) else v for k, v in node.attrs.items()},
            }
            for node in graph.nodes
        ],
        "outputs": list(graph.outputs),
        "blocks": list(graph.blocks),
        # Left out where there are none, so that digests of other graphs stay what they were.
        **({"patches": asdict(graph.patches)} if graph.patches else {}),
    }


def from_dict(data: dict[str, Any]) -> Graph:
    """The graph that `to_dict` wrote, checked.

    Raises:
        InputError: the data has another version, or is no graph.
        GraphError: the graph breaks a rule of the IR.
    """
    if data.get("version") != VERSION:
        raise InputError(
            f"graph has version {data.get('version')!r}, this release reads {VERSION}; "
            "write it again with the release in use"
        )
    inputs = {
        name: TensorType(tuple(tensor["shape"]), DType(tensor["dtype"]))
        for name, tensor in data["inputs"].items()
    }
    known = dict(inputs)
    nodes = []
    for item in data["nodes"]:
        types = {name: known[name] for name in item["inputs"]}
        node = make_node(item["name"], item["op"], types, _attrs(item["attrs"]))
        known[node.name] = node.out
        nodes.append(node)
    outputs, blocks = tuple(data["outputs"]), tuple(data["blocks"])
    graph = Graph(inputs, tuple(nodes), outputs, blocks, _patches(data.get("patches")))
    return verify(graph, is_super=any(node.op in ("gate", "select") for node in nodes))


def _type(tensor: TensorType) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": tensor.dtype.value}


def _patches(data: dict[str, Any] | None) -> Patches | BlockPatches | None:
    if data is None:
        return None
    if "side" in data:
        return Patches(**data)
    intervals = {axis: tuple(map(tuple, data[axis])) for axis in ("rows", "columns")}
    return BlockPatches(**{**data, **intervals})


def _attrs(attrs: dict[str, Any]) -> dict[str, Attr]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
