"""Running a graph in JAX: the definition of what every op computes."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.batch_norm.api import batch_norm
from kernels.conv.api import conv
from kernels.depthwise_conv.api import depthwise_conv
from kernels.inverted_residual.api import Weights, inverted_residual
from kernels.pointwise_conv.api import pointwise_conv
from search_spaces.ir.fusion import (
    InvertedResidual,
    fused_activations,
    inverted_residuals,
    scaled_inputs,
)
from search_spaces.ir.graph import DType, Graph, Node, ParamSpec
from search_spaces.ir.masking import Active

Params = Mapping[str, Mapping[str, Array]]
Stats = dict[str, dict[str, Array]]


def apply(
    graph: Graph,
    params: Params,
    inputs: Mapping[str, Float[Array, "n ..."]],
    *,
    stats: Mapping[str, Mapping[str, Array]] | None = None,
    switches: Mapping[str, Int[Array, ""]] | None = None,
    active: Active | None = None,
) -> tuple[tuple[Array, ...], Stats]:
    """Outputs of a graph for a batch.

    Args:
        graph: a network or a super-graph.
        params: its parameters, `{node: {name: array}}`.
        inputs: arrays with the batch in front.
        stats: mean and variance for each batch norm; None takes those of the batch.
        switches: for a super-graph, the bit of each gate and the branch number of each select.
        active: for a super-graph with masked parameters, what `active_of` gives: kernels skip what
            does not live.

    Returns:
        The outputs, and the batch statistics (biased variance) of every batch norm; empty when
        `stats` was given.
    """
    values: dict[str, Array] = dict(inputs)
    batch_stats: Stats = {}
    fused = fused_activations(graph)
    blocks = inverted_residuals(graph)
    scaled = scaled_inputs(graph)
    products = {found.product.name for found in scaled.values()}
    for node in graph.nodes:
        if node.name in values or node.name in products:
            continue
        if node.out.dtype != DType.FLOAT32:
            raise ValueError(f"{node.name}: only float32 is interpreted, not {node.out.dtype}")
        if node.name in blocks:
            block = blocks[node.name]
            if node is block.output:
                values[node.name] = _inverted_residual(block, params, values[block.input], active)
            continue
        sources = scaled[node.name].inputs if node.name in scaled else node.inputs
        xs = [values[name] for name in sources]
        own = params.get(node.name, {})
        live = None
        if active is not None:
            live = active.sizes.get(node.name)
            named = zip(sources, xs, strict=True)
            xs = [active.cleared(x, name, node) for name, x in named]
        after = fused.get(node.name)
        finish = {"bias": own.get("bias"), "activation": after.op if after else "none"}
        if node.op == "batch_norm":
            out, moments = batch_norm(
                xs[0],
                own["scale"],
                **finish,
                epsilon=float(str(node.attrs["epsilon"])),
                moments=None if stats is None else _moments(stats[node.name]),
                active=None if live is None else live[0],
            )
            if stats is None:
                batch_stats[node.name] = dict(zip(("mean", "var"), moments, strict=True))
        elif node.op == "pointwise":
            scale = xs[1].reshape(len(xs[1]), -1) if node.name in scaled else None
            out = pointwise_conv(xs[0], own["weight"], live, scale=scale, **finish)
        elif node.op in ("gate", "select"):
            if switches is None:
                raise ValueError(
                    f"{node.name}: a super-graph needs the switches of an architecture"
                )
            number = switches[node.name]
            out = lax.select_n(number, *(xs[::-1] if node.op == "gate" else xs))
        elif node.op in ("conv", "depthwise"):
            stride, padding = _numbers(node, "stride", "padding")
            convolve = conv if node.op == "conv" else depthwise_conv
            out = convolve(xs[0], own["weight"], stride, padding, live, **finish)
        else:
            out = FORWARD[node.op](node, own, xs)
        values[node.name] = out
        if after:
            values[after.name] = out
    return tuple(values[name] for name in graph.outputs), batch_stats


def _inverted_residual(
    block: InvertedResidual, params: Params, x: Array, active: Active | None
) -> Array:
    expand = {} if block.expand is None else params[block.expand.name]
    depthwise, project = params[block.depthwise.name], params[block.project.name]
    weights = Weights(
        expand.get("weight"),
        expand.get("bias"),
        depthwise["weight"],
        depthwise["bias"],
        project["weight"],
        project["bias"],
    )
    if block.squeeze_excite is not None:
        squeeze = params[block.squeeze_excite.squeeze.name]
        excite = params[block.squeeze_excite.excite.name]
        weights = weights._replace(
            squeeze=squeeze["weight"],
            squeeze_bias=squeeze["bias"],
            excite=excite["weight"],
            excite_bias=excite["bias"],
        )
    stride, padding = _numbers(block.depthwise, "stride", "padding")
    fixed = (stride, padding, block.activation, block.add is not None)
    if active is None:
        return inverted_residual(x, weights, *fixed)
    x = active.cleared(x, block.input, block.expand or block.depthwise)
    out = inverted_residual(x, weights, *fixed, _live_sizes(block, weights, active))
    return out if block.add is None else active.cleared(out, block.project.name, block.add)


def _live_sizes(block: InvertedResidual, weights: Weights, active: Active) -> Int[Array, " sizes"]:
    """Live input channels, kernel size, expanded and output channels, and squeezed ones if any."""
    kernel, _, wide = weights.depthwise.shape
    middle = active.sizes.get(block.depthwise.name, jnp.array((kernel, wide), jnp.int32))
    last = active.sizes.get(block.project.name, jnp.array(weights.project.shape, jnp.int32))
    first = middle[1:]
    if block.expand is not None and weights.expand is not None:
        whole = jnp.array(weights.expand.shape, jnp.int32)
        first = active.sizes.get(block.expand.name, whole)[:1]
    sizes = [first, middle, last[1:]]
    if block.squeeze_excite is not None and weights.squeeze is not None:
        whole = jnp.array(weights.squeeze.shape, jnp.int32)
        sizes.append(active.sizes.get(block.squeeze_excite.squeeze.name, whole)[1:])
    return jnp.concatenate(sizes)


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
    # Counted on one map only: XLA folds constants slowly.
    ones = jnp.ones((1, *xs[0].shape[1:3], 1), xs[0].dtype)
    return total / _pool(ones, node, 0.0, lax.add)


def _pad(node: Node, _own: Mapping[str, Array], xs: list[Array]) -> Array:
    top, bottom, left, right = _numbers(node, "top", "bottom", "left", "right")
    return jnp.pad(xs[0], ((0, 0), (top, bottom), (left, right), (0, 0)))


def _reshape(node: Node, _own: Mapping[str, Array], xs: list[Array]) -> Array:
    return xs[0].reshape((xs[0].shape[0], *node.out.shape))


Forward = Callable[[Node, Mapping[str, Array], list[Array]], Array]

FORWARD: Mapping[str, Forward] = {
    "dense": _matmul,
    "relu": lambda _node, _own, xs: jax.nn.relu(xs[0]),
    "relu6": lambda _node, _own, xs: jax.nn.relu6(xs[0]),
    "hswish": lambda _node, _own, xs: jax.nn.hard_swish(xs[0]),
    "hsigmoid": lambda _node, _own, xs: jax.nn.hard_sigmoid(xs[0]),
    "sigmoid": lambda _node, _own, xs: jax.nn.sigmoid(xs[0]),
    "gelu": lambda _node, _own, xs: jax.nn.gelu(xs[0], approximate=False),
    "softmax": lambda _node, _own, xs: jax.nn.softmax(xs[0], axis=-1),
    "identity": lambda _node, _own, xs: xs[0],
    "zero": lambda _node, _own, xs: jnp.zeros_like(xs[0]),
    "add": lambda _node, _own, xs: xs[0] + xs[1],
    "mul": lambda _node, _own, xs: xs[0] * xs[1],
    "max_pool": lambda node, _own, xs: _pool(xs[0], node, -jnp.inf, lax.max),
    "avg_pool": _avg_pool,
    "global_pool": lambda _node, _own, xs: jnp.mean(xs[0], (1, 2), keepdims=True),
    "pad": _pad,
    "reshape": _reshape,
}
