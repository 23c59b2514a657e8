"""From a network in 8 bits to the layers that C kernels compute, with their constants.

Tensors of a graph are unsigned; those of kernels are signed, with the same steps and zero points
less 128. What changes no bits (reshapes, identities, a ReLU that the steps have done) is no layer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int8

from hw_profiles.mcu.layers import (
    ACCUMULATOR_LIMIT,
    Add,
    AveragePool,
    Conv,
    Copy,
    Depthwise,
    FullyConnected,
    GlobalPool,
    Layer,
    LayerError,
    MaxPool,
    Multiply,
    Pointwise,
    Quantization,
    Softmax,
    Table,
    Window,
)
from hw_profiles.mcu.reference import run
from hw_profiles.mcu.tables import hswish_table, table_of
from search_spaces.errors import InputError
from search_spaces.ir.graph import Graph, Node
from search_spaces.ir.quantize import LARGEST_WEIGHT, in_8_bits, same_bits, weight_steps

Params = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Call:
    """A layer at its place in a network.

    Args:
        name: of the node that it comes from.
        layer: what is computed.
        reads: tensors that it reads, in the kernel's order.
        makes: the tensor that it makes.
        op: of that node.
    """

    name: str
    layer: Layer
    reads: tuple[str, ...]
    makes: str
    op: str


@dataclass(frozen=True)
class Int8Network:
    """Layers in the order in which they run.

    Args:
        calls: the layers.
        inputs: tensors that the network reads.
        outputs: tensors that it makes.
        shapes: of every tensor, (h, w, c) or (c,), batch left out.
        quantization: of every tensor.
    """

    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    quantization: Mapping[str, Quantization]

    def reference(self, *inputs: Int8[np.ndarray, "..."]) -> dict[str, Int8[np.ndarray, "..."]]:
        """Every tensor for one example, by the layers' references."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for call in self.calls:
            made = run(call.layer, *(values[name] for name in call.reads))
            made = made.reshape(self.shapes[call.makes])
            if isinstance(call.layer, Copy) and call.makes in values:
                _, written = call.layer.parts
                values[call.makes][written] = made[written]
            else:
                values[call.makes] = made
        return values

    def rounded(self, images: Float32[np.ndarray, "n h w c"]) -> Int8[np.ndarray, "n h w c"]:
        """Real images as the network reads them."""
        kind = self.quantization[self.inputs[0]]
        steps = np.rint(images / np.float32(kind.scale)) + kind.zero_point
        return np.clip(steps, -128, 127).astype(np.int8)


def lower(graph: Graph, params: Params) -> Int8Network:
    """The layers of a graph.

    Args:
        graph: whole in 8 bits (`quantize(…, whole=True)`).
        params: float32, in the graph's layouts.

    Raises:
        InputError: a line for each node that no C kernel computes.
    """
    _check_covered(graph)
    alias = {name: name for name in graph.inputs}
    shapes = {name: kind.shape for name, kind in graph.inputs.items()}
    quantization: dict[str, Quantization] = {}
    calls = []
    for node in graph.nodes:
        source = alias[node.inputs[0]]
        if source in graph.inputs and source not in quantization:
            # The node that rounds an input: kernels read the input rounded.
            quantization[source] = _quantization(node)
        if _keeps_bits(graph, node, source, quantization):
            alias[node.name] = source
            continue
        alias[node.name] = node.name
        shapes[node.name], quantization[node.name] = node.out.shape, _quantization(node)
        reads = tuple(alias[name] for name in node.inputs)
        kinds = [quantization[name] for name in (*reads, node.name)]
        own = {name: np.asarray(value) for name, value in params.get(node.name, {}).items()}
        layer = _LOWER[node.op](graph, node, kinds, own)
        calls.append(Call(node.name, layer, reads, node.name, node.op))
    outputs = tuple(dict.fromkeys(alias[name] for name in graph.outputs))
    return Int8Network(tuple(calls), tuple(graph.inputs), outputs, shapes, quantization)


def _check_covered(graph: Graph) -> None:
    problems = [
        f"{node.name}: no C kernel computes {node.op!r}; there are: {', '.join(_covered())}"
        for node in graph.nodes
        if node.op not in _covered()
    ]
    problems += [
        f"{node.name}: is in float32, C kernels have 8 bits only: quantize the graph whole"
        for node in graph.nodes
        if not in_8_bits(graph, node.name)
    ]
    problems += [
        f"{node.name}: the softmax of a {node.out.shape} map has no C kernel, only of a vector"
        for node in graph.nodes
        if node.op == "softmax" and node.out.size != node.out.shape[-1]
    ]
    if problems:
        raise InputError(problems)


def _covered() -> Iterable[str]:
    return sorted((*_LOWER, "identity", "reshape"))


def _quantization(node: Node) -> Quantization:
    step, zero_point = node.attrs["step"], node.attrs["zero_point"]
    return Quantization(float(str(step)), int(str(zero_point)) - 128)


def _keeps_bits(
    graph: Graph, node: Node, source: str, quantization: Mapping[str, Quantization]
) -> bool:
    if node.op in ("identity", "reshape"):
        return quantization[source] == _quantization(node)
    return same_bits(graph, node)


def _weighted(
    kinds: list[Quantization], own: Mapping[str, np.ndarray]
) -> tuple[Quantization, Quantization, np.ndarray, np.ndarray, np.ndarray]:
    """Quantisations, rounded weight with the output channels last, its steps, rounded bias."""
    source, made = kinds
    weight, bias = own["weight"], own.get("bias")
    steps = weight_steps(weight, bias, source.scale)
    rounded = np.rint(weight / steps).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)
    if bias is None:
        bias = np.zeros(weight.shape[-1], np.float32)
    total = np.rint(bias / (steps * np.float32(source.scale)).astype(np.float64))
    # A bias so large that the sum overflows gives an output of -128 or 127 either way.
    raised = np.maximum(np.frexp(steps.astype(np.float64) * source.scale / made.scale)[1], 0)
    spread = 255 * np.abs(rounded.astype(np.int64)).reshape(-1, weight.shape[-1]).sum(0)
    most = (ACCUMULATOR_LIMIT >> raised.astype(np.int64)) - 1 - spread
    return source, made, rounded, steps, np.clip(total, -most, most).astype(np.int32)


def _conv(graph: Graph, node: Node, kinds: list[Quantization], own: Mapping[str, Any]) -> Layer:
    source, made, weight, steps, bias = _weighted(kinds, own)
    window = _window(graph, node)
    if weight.shape[:2] == (1, 1) and window.stride == (1, 1) and window.pad == (0, 0):
        rows = np.ascontiguousarray(weight[0, 0].T)
        return Pointwise(source, made, rows, steps, bias, positions=_positions(node))
    rows = np.ascontiguousarray(weight.transpose(3, 0, 1, 2))
    return Conv(source, made, rows, steps, bias, window=window)


def _depthwise(
    graph: Graph, node: Node, kinds: list[Quantization], own: Mapping[str, Any]
) -> Layer:
    return Depthwise(*_weighted(kinds, own), window=_window(graph, node))


def _pointwise(
    _graph: Graph, node: Node, kinds: list[Quantization], own: Mapping[str, Any]
) -> Layer:
    source, made, weight, steps, bias = _weighted(kinds, own)
    rows = np.ascontiguousarray(weight.T)
    return Pointwise(source, made, rows, steps, bias, positions=_positions(node))


def _dense(_graph: Graph, _node: Node, kinds: list[Quantization], own: Mapping[str, Any]) -> Layer:
    source, made, weight, steps, bias = _weighted(kinds, own)
    return FullyConnected(source, made, np.ascontiguousarray(weight.T), steps, bias)


def _pool(kind: type[AveragePool] | type[MaxPool]) -> Callable[..., Layer]:
    def draw(graph: Graph, node: Node, _kinds: object, _own: object) -> Layer:
        return kind(_window(graph, node), node.out.shape[-1])

    return draw


def _global_pool(graph: Graph, node: Node, _kinds: object, _own: object) -> Layer:
    height, width, channels = graph.type_of(node.inputs[0]).shape
    return GlobalPool(height * width, channels)


def _add(_graph: Graph, node: Node, kinds: list[Quantization], _own: object) -> Layer:
    first, second, made = kinds
    return Add(node.out.size, first, second, made)


def _multiply(graph: Graph, node: Node, kinds: list[Quantization], _own: object) -> Layer:
    channels = graph.type_of(node.inputs[1]).size
    first, second, made = kinds
    return Multiply(node.out.size // channels, channels, first, second, made)


def _softmax(_graph: Graph, node: Node, kinds: list[Quantization], _own: object) -> Layer:
    return Softmax(node.out.size, kinds[0])


def _hswish(_graph: Graph, node: Node, kinds: list[Quantization], _own: object) -> Layer:
    try:
        table = hswish_table(*kinds)
    except LayerError:
        # Steps that TensorFlow Lite's 16 bits can't express: then the nearest values.
        table = table_of(lambda x: x * np.clip(x + 3, 0, 6) / 6, *kinds)
    return Table(node.out.size, table)


def _table(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Layer]:
    def draw(_graph: Graph, node: Node, kinds: list[Quantization], _own: object) -> Layer:
        return Table(node.out.size, table_of(function, *kinds))

    return draw


def _gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return x / 2 * (1 + erf(x / np.sqrt(2)))


def _positions(node: Node) -> int:
    return node.out.size // node.out.shape[-1]


def _window(graph: Graph, node: Node) -> Window:
    kernel, stride, padding = (int(str(node.attrs[n])) for n in ("kernel", "stride", "padding"))
    height, width, _ = graph.type_of(node.inputs[0]).shape
    return Window.padded((height, width), kernel, stride, padding)


_LOWER: Mapping[str, Callable[..., Layer]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "pointwise": _pointwise,
    "dense": _dense,
    "max_pool": _pool(MaxPool),
    "avg_pool": _pool(AveragePool),
    "global_pool": _global_pool,
    "add": _add,
    "mul": _multiply,
    "softmax": _softmax,
    "hswish": _hswish,
    "relu": _table(lambda x: np.maximum(x, 0)),
    "relu6": _table(lambda x: np.clip(x, 0, 6)),
    "hsigmoid": _table(lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "sigmoid": _table(lambda x: (1 + np.tanh(x / 2)) / 2),
    "gelu": _table(_gelu),
}
