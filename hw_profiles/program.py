"""A network as a JAX function, in the element type and batch that a device is asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import apply

Shapes = dict[str, Any]


def forward(graph: Graph) -> Callable[..., tuple[Array, ...]]:
    """The function of `(params, inputs)` that a graph is; batch norm folded before."""

    def network(params: Any, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        return apply(graph, params, inputs)[0]

    return network


def queued(network: Callable[..., tuple[Array, ...]], inferences: int) -> Callable[..., Any]:
    """A function that makes several inferences, one after the other; it returns its last input.

    A number of each input becomes what the outputs before it say, so that none can be left out or
    begun before.

    Args:
        network: the function of `(params, inputs)`.
        inferences: how many.
    """

    def queue(params: Any, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        def again(_: Array, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
            outputs = network(params, inputs)
            said = jnp.tanh(sum(out.ravel()[0].astype(jnp.float32) for out in outputs))
            return {
                name: lax.dynamic_update_slice(
                    x, jnp.full((1,) * x.ndim, said, x.dtype), (0,) * x.ndim
                )
                for name, x in inputs.items()
            }

        return lax.fori_loop(0, inferences, again, inputs)

    return queue


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
