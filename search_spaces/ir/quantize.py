"""Networks in 8 bits: which tensors are stored so, and in which steps.

Activations take 0..255 with one step and zero point a tensor, weights -127..127 with one step an
output channel, biases 32 bits (Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, §2). Steps of activations come from ranges
that were seen on real images; those of weights and biases follow from the parameters when a file is
written.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from search_spaces.ir.graph import Attr, DType, Graph, Node
from search_spaces.ir.ops import LINEAR, STORED, make_node
from search_spaces.ir.verify import verify

# Smallest and largest value of a tensor.
Ranges = Mapping[str, tuple[float, float]]

_LEVELS = 255
# Computed in integers where what they read is stored in 8 bits anyway. All others stay in float.
_FOLLOWING = ("add", "mul", "global_pool", "avg_pool")
# The same, and what they make keeps the steps of what they read.
_KEEPING = ("max_pool", "pad", "reshape", "identity")
# Free: what a step of zero point 0 can't hold, it cuts off.
_CUTTING: Mapping[str, float] = {"relu": np.inf, "relu6": 6.0}
# In networks that are whole in 8 bits: runtimes average without a change of steps, and give a
# sigmoid and a softmax steps of 1/256.
_KEEPING_WHOLE = (*_KEEPING, "avg_pool", "global_pool")
_FIXED: Mapping[str, tuple[float, float]] = dict.fromkeys(("sigmoid", "softmax"), (0.0, 255 / 256))

# Signed weights leave out -128, so that they are symmetric.
LARGEST_WEIGHT = 127
# A quarter of what a bias of 32 bits holds: the rest is for the sum that it is added to, which
# kernels double.
_LARGEST_BIAS = 2.0**29


def stored_in_8_bits(graph: Graph, *, whole: bool = False) -> tuple[str, ...]:
    """Inputs and nodes whose values `quantize` stores in 8 bits: it needs their ranges.

    Convolutions and dense layers always compute in integers, other ops where that takes no
    conversion; the rest (h-swish, sigmoids, softmax) reads and makes float32. A dense layer that
    nothing in integers follows makes float32 as well, so that logits are not rounded. An identity
    stands where blocks hand over, which they do in 8 bits.

    Args:
        graph: as for `quantize`.
        whole: all of them, as microcontrollers need it that have no float32 kernels.
    """
    if whole:
        return (*graph.inputs, *graph.by_name)
    rounding = (*LINEAR, "identity")
    needed = {name for node in graph.nodes if node.op in rounding for name in node.inputs}
    while True:
        integer: set[str] = set()
        stored = needed & set(graph.inputs)
        for node in graph.nodes:
            follows = node.op in (*_FOLLOWING, *_KEEPING, *_CUTTING)
            if node.op in LINEAR or (follows and not stored.isdisjoint(node.inputs)):
                integer.add(node.name)
            followed = any(
                reader.op in (*LINEAR, *_FOLLOWING, *_KEEPING, *_CUTTING)
                for reader in graph.readers.get(node.name, ())
            )
            ends = node.op == "dense" and not followed
            if node.name in needed or (node.name in integer and not ends):
                stored.add(node.name)
        grown = needed.union(*(node.inputs for node in graph.nodes if node.name in integer))
        if grown == needed:
            return tuple(n for n in (*graph.inputs, *graph.by_name) if n in stored)
        needed = grown


def quantize(graph: Graph, ranges: Ranges, *, whole: bool = False) -> Graph:
    """The graph with steps and zero points for the tensors that are stored in 8 bits.

    Nodes keep their names. An input that is stored in 8 bits stays float32 and gets a node of its
    own that rounds it.

    Args:
        graph: float32, without batch norm, gates and selects.
        ranges: of each tensor in `stored_in_8_bits(graph, whole=whole)`.
        whole: store every tensor in 8 bits, the outputs too.
    """
    stored = stored_in_8_bits(graph, whole=whole)
    keeping = _KEEPING_WHOLE if whole else _KEEPING
    renames = {name: f"{name}/rounded" for name in graph.inputs if name in stored}
    types = dict(graph.inputs)
    steps: dict[str, dict[str, Attr]] = {}
    nodes: list[Node] = []

    def draw(name: str, op: str, inputs: tuple[str, ...], attrs: Mapping[str, Attr]) -> None:
        read = {source: types[source] for source in inputs}
        nodes.append(make_node(name, op, read, {**attrs, **steps.get(name, {})}))
        types[name] = nodes[-1].out

    for name, new in renames.items():
        steps[new] = _steps(*ranges[name])
        draw(new, "identity", (name,), {})
    for node in graph.nodes:
        inputs = tuple(renames.get(name, name) for name in node.inputs)
        if node.name in stored:
            if node.op in keeping and inputs[0] in steps:
                steps[node.name] = steps[inputs[0]]
            else:
                after = _cut_by(node, graph)
                low, high = _FIXED.get(node.op) or ranges[after.name]
                if after.op in _CUTTING:
                    low, high = 0.0, min(high, _CUTTING[after.op])
                steps[node.name] = _steps(low, high)
        draw(node.name, node.op, inputs, node.attrs)
    return verify(replace(graph, nodes=tuple(nodes)))


def quantize_for_timing(graph: Graph, *, whole: bool = False) -> Graph:
    """The same with steps that suit no images: no time depends on them."""
    stored = stored_in_8_bits(graph, whole=whole)
    return quantize(graph, dict.fromkeys(stored, (-4.0, 4.0)), whole=whole)


def weight_steps(
    weight: Float32[np.ndarray, "*axes cout"],
    bias: Float32[np.ndarray, " cout"] | None,
    input_step: float,
) -> Float32[np.ndarray, " cout"]:
    """Steps in which the largest weight of an output channel fits, and its bias in 32 bits."""
    steps = np.abs(weight).reshape(-1, weight.shape[-1]).max(0) / np.float32(LARGEST_WEIGHT)
    if bias is not None:
        steps = np.maximum(steps, np.abs(bias) / np.float32(input_step * _LARGEST_BIAS))
    return np.where(steps > 0, steps, np.float32(1.0))


def _cut_by(node: Node, graph: Graph) -> Node:
    """The ReLU that alone reads the node, whose steps then do its work; else the node itself."""
    after = graph.readers.get(node.name, [])
    alone = [reader.op in _CUTTING for reader in after] == [True]
    return after[0] if alone and node.name not in graph.outputs else node


def _steps(low: float, high: float) -> dict[str, Attr]:
    """Step and zero point of a range; zero is always in it, and exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = float(np.float32((high - low) / _LEVELS)) or 1.0
    return {"step": step, "zero_point": int(np.clip(round(-low / step), 0, _LEVELS))}


def in_8_bits(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is stored in 8 bits."""
    return graph.type_of(tensor).dtype == DType.UINT8


def same_bits(graph: Graph, node: Node) -> bool:
    """Whether a node makes the bits that it reads: a ReLU that the steps have done already."""
    if node.op not in ("relu", "relu6", "identity") or not in_8_bits(graph, node.name):
        return False
    source = graph.by_name.get(node.inputs[0])
    return source is not None and all(source.attrs.get(k) == node.attrs[k] for k in STORED)


def is_quantized(graph: Graph) -> bool:
    """Whether tensors of the graph are stored in 8 bits."""
    return any(node.out.dtype == DType.UINT8 for node in graph.nodes)
