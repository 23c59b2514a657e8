"""Running a graph in JAX: the definition of what every op computes."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.batch_norm.activations import ACTIVATIONS
from kernels.batch_norm.api import batch_norm
from kernels.depthwise_conv.api import depthwise_conv
from kernels.pointwise_conv.api import pointwise_conv
from search_spaces.ir.elastic import Elastic
from search_spaces.ir.graph import Graph, Node, ParamSpec

Params = Mapping[str, Mapping[str, Array]]
Stats = dict[str, dict[str, Array]]
_IMAGE = ("NHWC", "HWIO", "NHWC")
# What the kernels are told of a masked node: the parameter and its axes.
_LIVE_AXES: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "depthwise": ("weight", (0, 2)),
    "pointwise": ("weight", (0, 1)),
    "batch_norm": ("scale", (0,)),
}


def apply(
    graph: Graph,
    params: Params,
    inputs: Mapping[str, Float[Array, "n ..."]],
    *,
    stats: Mapping[str, Mapping[str, Array]] | None = None,
    switches: Mapping[str, Int[Array, ""]] | None = None,
    active: Mapping[str, Int[Array, " k"]] | None = None,
) -> tuple[tuple[Array, ...], Stats]:
    """Outputs of a graph for a batch.

    Args:
        graph: a network or a super-graph.
        params: its parameters, `{node: {name: array}}`.
        inputs: arrays with the batch in front.
        stats: mean and variance for each batch norm; None takes those of the batch.
        switches: for a super-graph, the bit of each gate and the branch number of each select.
        active: for a super-graph with masked parameters, the live sizes that `active_of` gives:
            kernels may skip the rest.

    Returns:
        The outputs, and the batch statistics (biased variance) of every batch norm; empty when
        `stats` was given.
    """
    values: dict[str, Array] = dict(inputs)
    batch_stats: Stats = {}
    fused = _activations_of_batch_norms(graph)
    for node in graph.nodes:
        if node.name in values:
            continue
        xs = [values[name] for name in node.inputs]
        own = params.get(node.name, {})
        live = None if active is None else active.get(node.name)
        if node.op == "batch_norm":
            after = fused.get(node.name)
            out, moments = batch_norm(
                xs[0],
                own["scale"],
                own["bias"],
                epsilon=float(str(node.attrs["epsilon"])),
                activation=after.op if after else "none",
                moments=None if stats is None else _moments(stats[node.name]),
                active=None if live is None else live[0],
            )
            if stats is None:
                batch_stats[node.name] = dict(zip(("mean", "var"), moments, strict=True))
            if after:
                values[after.name] = out
        elif node.op == "pointwise":
            out = _biased(pointwise_conv(xs[0], own["weight"], live), own)
        elif node.op in ("gate", "select"):
            if switches is None:
                raise ValueError(
                    f"{node.name}: a super-graph needs the switches of an architecture"
                )
            number = switches[node.name]
            out = lax.select_n(number, *(xs[::-1] if node.op == "gate" else xs))
        elif node.op == "depthwise":
            stride, padding = _numbers(node, "stride", "padding")
            out = _biased(depthwise_conv(xs[0], own["weight"], stride, padding, live), own)
        else:
            out = FORWARD[node.op](node, own, xs)
        values[node.name] = out
    return tuple(values[name] for name in graph.outputs), batch_stats


def mask(elastic: Elastic, params: Params, slots: Int[Array, " s"]) -> dict[str, dict[str, Array]]:
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


def active_of(elastic: Elastic, graph: Graph, slots: Int[Array, " s"]) -> dict[str, Array]:
    """Live sizes of the super-graph's nodes, of the axes that `_LIVE_AXES` names."""
    found = {(s.node, s.param, s.axis): i for i, s in enumerate(elastic.sizes)}
    out = {}
    for node in graph.nodes:
        if node.op in _LIVE_AXES:
            param, axes = _LIVE_AXES[node.op]
            places = [found.get((node.name, param, axis)) for axis in axes]
            if any(place is not None for place in places):
                whole = (jnp.array(node.params[param].shape[axis], slots.dtype) for axis in axes)
                live = zip(places, whole, strict=True)
                out[node.name] = jnp.stack([w if i is None else slots[i] for i, w in live])
    return out


def _activations_of_batch_norms(graph: Graph) -> dict[str, Node]:
    """Activations that alone read a batch norm, by its name: both are computed in one pass."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return {
        node.name: readers[node.name][0]
        for node in graph.nodes
        if node.op == "batch_norm"
        and node.name not in graph.outputs
        and [reader.op in ACTIVATIONS for reader in readers.get(node.name, ())] == [True]
    }


def init(graph: Graph, key: Array) -> dict[str, dict[str, Array]]:
    """Fresh parameters: He et al. 2015 for convolutions, LeCun for dense layers."""
    named = [(n.name, name, spec) for n in graph.nodes for name, spec in n.params.items()]
    keys = jax.random.split(key, len(named))
    out: dict[str, dict[str, Array]] = {}
    for (node, name, spec), own_key in zip(named, keys, strict=True):
        out.setdefault(node, {})[name] = _draw(spec, own_key)
    return out


def _draw(spec: ParamSpec, key: Array) -> Array:
    if spec.init in ("zeros", "ones"):
        return jnp.full(spec.shape, float(spec.init == "ones"), jnp.float32)
    gain = {"he_normal": 2.0, "lecun_normal": 1.0}[spec.init]
    return jax.random.normal(key, spec.shape) * (gain / spec.fan_in) ** 0.5


def _numbers(node: Node, *names: str) -> tuple[int, ...]:
    return tuple(int(str(node.attrs[name])) for name in names)


def _moments(stats: Mapping[str, Array]) -> tuple[Array, Array]:
    return stats["mean"], stats["var"]


def _wide(vector: Float[Array, " c"], like: Array) -> Array:
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def _biased(x: Array, own: Mapping[str, Array]) -> Array:
    return x + _wide(own["bias"], x) if "bias" in own else x


def _conv(node: Node, own: Mapping[str, Array], xs: list[Array]) -> Array:
    stride, padding = _numbers(node, "stride", "padding")
    edges = ((padding, padding), (padding, padding))
    out = lax.conv_general_dilated(
        xs[0], own["weight"], (stride, stride), edges, dimension_numbers=_IMAGE
    )
    return _biased(out, own)


def _matmul(_node: Node, own: Mapping[str, Array], xs: list[Array]) -> Array:
    return _biased(jnp.dot(xs[0], own["weight"]), own)


def _pool(x: Array, node: Node, start: float, op: Callable[[Array, Array], Array]) -> Array:
    kernel, stride, padding = _numbers(node, "kernel", "stride", "padding")
    edges = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    window = (1, kernel, kernel, 1)
    # The start must be a plain number: only then is the gradient of a known reduction.
    return lax.reduce_window(x, start, op, window, (1, stride, stride, 1), edges)


def _avg_pool(node: Node, _own: Mapping[str, Array], xs: list[Array]) -> Array:
    """Average over the pixels inside the map: padding is not counted."""
    total = _pool(xs[0], node, 0.0, lax.add)
    return total / _pool(jnp.ones_like(xs[0]), node, 0.0, lax.add)


def _pad(node: Node, _own: Mapping[str, Array], xs: list[Array]) -> Array:
    top, bottom, left, right = _numbers(node, "top", "bottom", "left", "right")
    return jnp.pad(xs[0], ((0, 0), (top, bottom), (left, right), (0, 0)))


def _reshape(node: Node, _own: Mapping[str, Array], xs: list[Array]) -> Array:
    return xs[0].reshape((xs[0].shape[0], *node.out.shape))


Forward = Callable[[Node, Mapping[str, Array], list[Array]], Array]

FORWARD: Mapping[str, Forward] = {
    "conv": _conv,
    "dense": _matmul,
    "relu": lambda _node, _own, xs: jax.nn.relu(xs[0]),
    "relu6": lambda _node, _own, xs: jax.nn.relu6(xs[0]),
    "hswish": lambda _node, _own, xs: jax.nn.hard_swish(xs[0]),
    "hsigmoid": lambda _node, _own, xs: jax.nn.hard_sigmoid(xs[0]),
    "sigmoid": lambda _node, _own, xs: jax.nn.sigmoid(xs[0]),
    "gelu": lambda _node, _own, xs: jax.nn.gelu(xs[0], approximate=False),
    "softmax": lambda _node, _own, xs: jax.nn.softmax(xs[0], axis=-1),
    "identity": lambda _node, _own, xs: xs[0],
    "add": lambda _node, _own, xs: xs[0] + xs[1],
    "mul": lambda _node, _own, xs: xs[0] * xs[1],
    "max_pool": lambda node, _own, xs: _pool(xs[0], node, -jnp.inf, lax.max),
    "avg_pool": _avg_pool,
    "global_pool": lambda _node, _own, xs: jnp.mean(xs[0], (1, 2), keepdims=True),
    "pad": _pad,
    "reshape": _reshape,
}
