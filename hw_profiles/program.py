"""A network as a JAX function, in the element type and batch that a device is asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import apply

Shapes = dict[str, Any]


def forward(graph: Graph) -> Callable[..., tuple[Array, ...]]:
    """The function of `(params, inputs)` that a graph is; batch norm folded before."""

    def network(params: Any, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        return apply(graph, params, inputs)[0]

    return network


def shapes(graph: Graph, batch: int, dtype: str, sharding: Any = None) -> tuple[Shapes, Shapes]:
    """Of a network's parameters and inputs.

    Args:
        graph: the network.
        batch: examples.
        dtype: of all arrays.
        sharding: where they shall lie; default: JAX's device.
    """

    def shape(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, jnp.dtype(dtype), sharding=sharding)

    params = {
        node.name: {name: shape(*spec.shape) for name, spec in node.params.items()}
        for node in graph.nodes
        if node.params
    }
    return params, {name: shape(batch, *kind.shape) for name, kind in graph.inputs.items()}
