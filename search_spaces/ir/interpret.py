"""Running a graph in JAX: the definition of what every op computes."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from kernels.batch_norm.api import batch_norm
from kernels.depthwise_conv.api import depthwise_conv
from kernels.pointwise_conv.api import pointwise_conv
from search_spaces.ir.graph import Graph, Node, ParamSpec
from search_spaces.ir.masking import Active, clear, fused_activations

Params = Mapping[str, Mapping[str, Array]]
Stats = dict[str, dict[str, Array]]
_IMAGE = ("NHWC", "HWIO", "NHWC")
# Up to this many channels (an image's) a convolution is a matrix product of its patches: on a CPU
# 1.4 to 1.8 times faster than XLA's at 3x3, and 2 to 3 times with the gradient of the weights.
_THIN = 4


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
    for node in graph.nodes:
        if node.name in values:
            continue
        xs = [values[name] for name in node.inputs]
        own = params.get(node.name, {})
        live = None
        if active is not None:
            live = active.sizes.get(node.name)
            xs = [
                clear(x, active.borders[name, node.name])
                if (name, node.name) in active.borders
                else x
                for name, x in zip(node.inputs, xs, strict=True)
            ]
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
            out = pointwise_conv(xs[0], own["weight"], live, **finish)
        elif node.op in ("gate", "select"):
            if switches is None:
                raise ValueError(
                    f"{node.name}: a super-graph needs the switches of an architecture"
                )
            number = switches[node.name]
            out = lax.select_n(number, *(xs[::-1] if node.op == "gate" else xs))
        elif node.op == "depthwise":
            stride, padding = _numbers(node, "stride", "padding")
            out = depthwise_conv(xs[0], own["weight"], stride, padding, live, **finish)
        else:
            out = FORWARD[node.op](node, own, xs)
        values[node.name] = out
        if after:
            values[after.name] = out
    return tuple(values[name] for name in graph.outputs), batch_stats


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
    weight = own["weight"]
    if weight.shape[2] <= _THIN:
        patches = _patches(xs[0], weight.shape[0], stride, padding)
        out = pointwise_conv(patches, weight.reshape(-1, weight.shape[3]))
    else:
        edges = ((padding, padding), (padding, padding))
        out = lax.conv_general_dilated(
            xs[0], weight, (stride, stride), edges, dimension_numbers=_IMAGE
        )
    return _biased(out, own)


def _patches(
    x: Float[Array, "n h w c"], kernel: int, stride: int, padding: int
) -> Float[Array, "n oh ow kkc"]:
    """The pixels under the kernel at each place, in the order of its weights."""
    n, *size, channels = x.shape
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = ((edge + 2 * padding - kernel) // stride * stride + 1 for edge in size)
    steps = (1, stride, stride, 1)
    taps = [
        lax.slice(x, (0, i, j, 0), (n, i + height, j + width, channels), steps)
        for i in range(kernel)
        for j in range(kernel)
    ]
    return jnp.concatenate(taps, -1)


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
    "add": lambda _node, _own, xs: xs[0] + xs[1],
    "mul": lambda _node, _own, xs: xs[0] * xs[1],
    "max_pool": lambda node, _own, xs: _pool(xs[0], node, -jnp.inf, lax.max),
    "avg_pool": _avg_pool,
    "global_pool": lambda _node, _own, xs: jnp.mean(xs[0], (1, 2), keepdims=True),
    "pad": _pad,
    "reshape": _reshape,
}
