"""A super-graph's parameters and maps with only an architecture's slice of them alive."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from search_spaces.ir.elastic import Elastic
from search_spaces.ir.fusion import CHANNELWISE, LIVE_AXES, fused_activations, scaled_inputs
from search_spaces.ir.graph import Graph, Node


def mask(
    elastic: Elastic, params: Mapping[str, Mapping[str, Array]], slots: Int[Array, " s"]
) -> dict[str, dict[str, Array]]:
    """The super-graph's parameters with everything outside an architecture's slice set to zero."""
    out = {node: dict(own) for node, own in params.items()}
    for i, size in enumerate(elastic.sizes):
        value = out[size.node][size.param]
        start = (size.full - slots[i]) // 2 if size.centred else jnp.zeros((), slots.dtype)
        place = lax.broadcasted_iota(slots.dtype, value.shape, size.axis)
        live = (place >= jnp.broadcast_to(start, value.shape)) & (
            place < jnp.broadcast_to(start + slots[i], value.shape)
        )
        out[size.node][size.param] = jnp.where(live, value, jnp.zeros_like(value))
    return out


def switches_of(elastic: Elastic, slots: Int[Array, " s"]) -> dict[str, Int[Array, ""]]:
    """Bits of the gates and branch numbers of the selects, by node name."""
    first = len(elastic.sizes)
    return {switch.node: slots[first + i] for i, switch in enumerate(elastic.switches)}


@dataclass(frozen=True)
class Active:
    """What lives of a super-graph with masked parameters.

    Our kernels neither read nor write dead channels, so between them a map may hold anything
    there. Other ops read and write all of it: where a map passes from one kind to the other, its
    dead channels are cleared, forwards and in its gradient.

    Args:
        sizes: of our kernels' nodes, the live sizes of the axes that `LIVE_AXES` names.
        borders: of such a passage, `(tensor, node that reads it)`, the live channels.
    """

    sizes: Mapping[str, Int[Array, " k"]]
    borders: Mapping[tuple[str, str], Int[Array, ""]]

    def cleared(self, x: Float[Array, "*n c"], name: str, reader: Node) -> Float[Array, "*n c"]:
        """A tensor as a node may read it."""
        if (name, reader.name) not in self.borders:
            return x
        live = self.borders[name, reader.name]
        channel = lax.broadcasted_iota(live.dtype, x.shape, x.ndim - 1)
        return jnp.where(channel < jnp.broadcast_to(live, x.shape), x, jnp.zeros_like(x))


def active_of(elastic: Elastic, graph: Graph, slots: Int[Array, " s"]) -> Active:
    """What lives of the super-graph for an architecture's row of `Elastic.encode`."""
    found = {(s.node, s.param, s.axis): slots[i] for i, s in enumerate(elastic.sizes)}
    sizes: dict[str, Array] = {}
    borders: dict[tuple[str, str], Array] = {}
    written: dict[str, Array] = {}  # live channels of maps that may hold anything beyond
    fused, scaled = fused_activations(graph), scaled_inputs(graph)
    optional = [n.name.removesuffix("gate") for n in graph.nodes if n.op == "gate"]
    products = {inputs.product.name for inputs in scaled.values()}
    for node in graph.nodes:
        if node.name in written or node.name in products:
            continue
        source = node.inputs[0]
        scope = next((s for s in optional if node.name.startswith(s)), "")
        if node.op in CHANNELWISE and source in written and source.startswith(scope):
            written[node.name] = written[source]
            continue
        if node.op not in LIVE_AXES:
            borders |= {(x, node.name): written[x] for x in node.inputs if x in written}
            continue
        param, axes = LIVE_AXES[node.op]
        live = [found.get((node.name, param, axis)) for axis in axes]
        if all(size is None for size in live):
            continue
        whole = (jnp.array(node.params[param].shape[axis], slots.dtype) for axis in axes)
        pairs = zip(live, whole, strict=True)
        sizes[node.name] = jnp.stack([w if size is None else size for size, w in pairs])
        reads, writes = live[-2] if node.op in ("conv", "pointwise") else live[-1], live[-1]
        inputs = scaled[node.name].inputs if node.name in scaled else node.inputs
        if reads is not None:
            # In an absent block nothing lives, so nothing writes the gradient of what it reads.
            outside = (x for x in inputs if x not in written or not x.startswith(scope))
            borders |= {(x, node.name): reads for x in outside}
        if writes is not None:
            written[node.name] = writes
            if node.name in fused:
                written[fused[node.name].name] = writes
    return Active(sizes, borders)
