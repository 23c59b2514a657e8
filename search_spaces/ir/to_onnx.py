"""Graph to ONNX, one table op at a time.

The file is what a hand would write: an image is `(batch, channels, height, width)`, weights are
transposed while they are written (OIHW), so the network holds no Transpose; a node's tensor
carries its name, so the runtime's profile, the latency table and the graph speak of the same
things. Equal graphs and parameters give equal bytes.

A new op is one function and one line in `EMITTERS`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from search_spaces.errors import RunError
from search_spaces.ir.graph import DType, Graph, Node, TensorType

# The lowest that the project promises, so that old runtimes read the file too (onnxruntime 1.12).
# It lacks only Gelu (opset 20), whose exact form below onnxruntime fuses to the same kernel.
OPSET = 17

BATCH = "batch"

Params = Mapping[str, Mapping[str, Any]]


def to_onnx(
    graph: Graph,
    params: Params,
    *,
    metadata: Mapping[str, str] | None = None,
    dynamic_batch: bool = True,
) -> onnx.ModelProto:
    """The graph as an ONNX model, checked.

    Args:
        graph: without batch norm, gates and selects (see `passes.fold_batchnorm`), float32.
        params: `{node: {parameter: array}}` in the graph's layouts, numpy or JAX.
        metadata: key-value pairs that the file carries (`metadata_props`).
        dynamic_batch: leave the batch open (`batch`), or fix it at one example.

    Returns:
        A model whose tensors carry the graph's names. Maps `(h, w, c)` are `(batch, c, h, w)`,
        other tensors `(batch, *shape)`.

    Raises:
        RunError: the graph holds an op that has no ONNX form, or a parameter is missing or has
            another shape than its node says.
    """
    _check_exportable(graph)
    writer = Writer(graph, params)
    for node in graph.nodes:
        EMITTERS[node.op](writer, node)

    batch = BATCH if dynamic_batch else 1
    proto = helper.make_graph(
        writer.nodes,
        "network",
        [_value_info(name, kind, batch) for name, kind in graph.inputs.items()],
        [_value_info(name, graph.type_of(name), batch) for name in graph.outputs],
        writer.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        proto,
        producer_name="hwnas",
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
    )
    helper.set_model_props(model, dict(sorted((metadata or {}).items())))
    onnx.checker.check_model(model, full_check=True)
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """The model as a file's content, equal for equal models."""
    return model.SerializeToString(deterministic=True)


class Writer:
    """What the emitters write to: ONNX nodes and initialisers in the order of the graph.

    Names that are not a node's own hold a dot, which no node name does, so they never clash.
    """

    def __init__(self, graph: Graph, params: Params) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._params = params
        self._constants: set[str] = set()
        self.permuted = _permuted_by_dense(graph)

    def emit(self, op_type: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        """Append an ONNX node that makes the tensor `output`."""
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], output, **attributes))
        return output

    def param(self, node: Node, name: str, axes: tuple[int, ...] | None = None) -> str:
        """Write a parameter of the node, its axes reordered, as an initialiser."""
        return self.initializer(f"{node.name}.{name}", self.value(node, name).transpose(axes))

    def value(self, node: Node, name: str) -> np.ndarray:
        """A parameter in the graph's own layout."""
        try:
            value = np.asarray(self._params[node.name][name], np.float32)
        except KeyError:
            raise RunError(f"{node.name}: no parameter {name!r} was given") from None
        expected = node.params[name].shape
        if value.shape != expected:
            raise RunError(f"{node.name}: {name} is {value.shape}, the graph says {expected}")
        return value

    def initializer(self, name: str, value: np.ndarray) -> str:
        """Write a constant tensor."""
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def scalar(self, value: float) -> str:
        """A float32 constant, written once however often it is read."""
        name = f"constant.{value!r}"
        if name not in self._constants:
            self._constants.add(name)
            self.initializer(name, np.array(value, np.float32))
        return name


def _check_exportable(graph: Graph) -> None:
    problems = [
        f"{node.name}: {_REFUSED.get(node.op, f'op {node.op!r} has no ONNX form')}"
        for node in graph.nodes
        if node.op not in EMITTERS
    ]
    tensors = {**graph.inputs, **{node.name: node.out for node in graph.nodes}}
    problems += [
        f"{name}: {kind.dtype.value} tensors are not exported, only float32"
        for name, kind in tensors.items()
        if kind.dtype != DType.FLOAT32
    ]
    if problems:
        raise RunError("\n".join(problems))


_REFUSED = {
    "batch_norm": "batch norm is folded before export: call fold_batchnorm and fold_params",
    "gate": "a gate belongs to the super-graph: build one architecture, not None",
    "select": "a select belongs to the super-graph: build one architecture, not None",
}


def _permuted_by_dense(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Reshapes of a map to a vector that only dense nodes read: their weights take the new order.

    Everywhere else the vector has to be in the graph's channels-last order, at the price of a
    Transpose.
    """
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return {
        node.name: shape
        for node in graph.nodes
        if node.op == "reshape"
        and len(node.out.shape) == 1
        and _order_matters(shape := graph.type_of(node.inputs[0]).shape)
        and node.name not in graph.outputs
        and all(reader.op == "dense" for reader in readers.get(node.name, []))
    }


def _order_matters(shape: tuple[int, ...]) -> bool:
    """Whether channels first and channels last list the elements in different orders."""
    return len(shape) == 3 and shape[2] > 1 and shape[0] * shape[1] > 1


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def _value_info(name: str, kind: TensorType, batch: str | int) -> onnx.ValueInfoProto:
    shape = [batch, *_channels_first(kind.shape)]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _window(node: Node) -> dict[str, Any]:
    """Attributes that convolutions and pools share; ONNX pads are (top, left, bottom, right)."""
    kernel, stride, padding = (node.attrs[name] for name in ("kernel", "stride", "padding"))
    return {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}


def _bias(writer: Writer, node: Node) -> list[str]:
    return [writer.param(node, "bias")] if "bias" in node.params else []


def _conv(writer: Writer, node: Node) -> None:
    weight = writer.param(node, "weight", (3, 2, 0, 1))
    inputs = [*node.inputs, weight, *_bias(writer, node)]
    writer.emit("Conv", inputs, node.name, **_window(node))


def _depthwise(writer: Writer, node: Node) -> None:
    value = writer.value(node, "weight").transpose(2, 0, 1)[:, None]
    weight = writer.initializer(f"{node.name}.weight", value)
    inputs = [*node.inputs, weight, *_bias(writer, node)]
    writer.emit("Conv", inputs, node.name, group=len(value), **_window(node))


def _pointwise(writer: Writer, node: Node) -> None:
    value = writer.value(node, "weight").T[:, :, None, None]
    weight = writer.initializer(f"{node.name}.weight", value)
    inputs = [*node.inputs, weight, *_bias(writer, node)]
    writer.emit("Conv", inputs, node.name, kernel_shape=[1, 1])


def _dense(writer: Writer, node: Node) -> None:
    value = writer.value(node, "weight")
    if shape := writer.permuted.get(node.inputs[0]):
        value = value.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(value.shape)
    # (cout, cin) and transB: the layout that every converter and quantiser expects of a Gemm.
    weight = writer.initializer(f"{node.name}.weight", value.T)
    inputs = [*node.inputs, weight, *_bias(writer, node)]
    writer.emit("Gemm", inputs, node.name, transB=1)


def _max_pool(writer: Writer, node: Node) -> None:
    writer.emit("MaxPool", node.inputs, node.name, **_window(node))


def _avg_pool(writer: Writer, node: Node) -> None:
    writer.emit("AveragePool", node.inputs, node.name, count_include_pad=0, **_window(node))


def _pad(writer: Writer, node: Node) -> None:
    top, bottom, left, right = (node.attrs[side] for side in ("top", "bottom", "left", "right"))
    pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
    writer.emit("Pad", [*node.inputs, writer.initializer(f"{node.name}.pads", pads)], node.name)


def _relu6(writer: Writer, node: Node) -> None:
    writer.emit("Clip", [*node.inputs, writer.scalar(0.0), writer.scalar(6.0)], node.name)


def _hsigmoid(writer: Writer, node: Node) -> None:
    writer.emit("HardSigmoid", node.inputs, node.name, alpha=1 / 6, beta=0.5)


def _gelu(writer: Writer, node: Node) -> None:
    """`x/2 (1 + erf(x/sqrt 2))`, in the form that onnxruntime recognises as one Gelu."""
    (x,) = node.inputs
    scaled = writer.emit("Div", [x, writer.scalar(2**0.5)], f"{node.name}.scaled")
    erf = writer.emit("Erf", [scaled], f"{node.name}.erf")
    shifted = writer.emit("Add", [erf, writer.scalar(1.0)], f"{node.name}.shifted")
    doubled = writer.emit("Mul", [x, shifted], f"{node.name}.doubled")
    writer.emit("Mul", [doubled, writer.scalar(0.5)], node.name)


def _softmax(writer: Writer, node: Node) -> None:
    """Over the channels, which a map has at axis 1."""
    writer.emit("Softmax", node.inputs, node.name, axis=1 if len(node.out.shape) == 3 else -1)


def _reshape(writer: Writer, node: Node) -> None:
    """A reshape of channels-last elements; Transposes only where the order of elements shows."""
    (tensor,) = node.inputs
    source, target = writer.graph.type_of(tensor).shape, node.out.shape
    same_channels = len(source) == len(target) == 3 and source[2] == target[2]
    if _order_matters(source) and not same_channels and node.name not in writer.permuted:
        tensor = writer.emit("Transpose", [tensor], f"{node.name}.nhwc", perm=[0, 2, 3, 1])
    transposed = _order_matters(target) and not same_channels
    shape = target if transposed else _channels_first(target)
    # Zero keeps the batch as it is, so that the same file serves every batch size.
    value = writer.initializer(f"{node.name}.shape", np.array([0, *shape], np.int64))
    writer.emit("Reshape", [tensor, value], f"{node.name}.nhwc_out" if transposed else node.name)
    if transposed:
        writer.emit("Transpose", [f"{node.name}.nhwc_out"], node.name, perm=[0, 3, 1, 2])


def _same(op_type: str) -> Callable[[Writer, Node], None]:
    """An op that ONNX has under another name and with the same inputs."""

    def emit(writer: Writer, node: Node) -> None:
        writer.emit(op_type, node.inputs, node.name)

    return emit


# Each op is emitted in the form that onnxruntime 1.31 fuses best. Measured on two networks of the
# MobileNetV3 kind (32x32 and 224x224, one thread, interleaved, 10 % quantile; equal optimised
# graphs differed by up to 4 %): of 148 nodes 117 and 116 stay, every activation of a Conv and every
# residual is fused into it. Time against this form:
# - h-swish as Add, Clip, Mul, Mul: 1.19 and 1.24; h-sigmoid as Add, Clip, Div: 1.14 and 1.06;
# - the gate of squeeze-excite stretched by Resize, for a Mul in the blocked layout: 0.97 and 1.08;
# - ReduceMean for GlobalAveragePool: 1.02 and 1.03, ten more nodes;
# - the pointwise nodes of squeeze-excite as Gemm: 1.04 and 1.03, 55 more nodes;
# - h-swish as HardSigmoid and Mul, a fixed batch, Gelu of opset 20: the same optimised graph.
EMITTERS: Mapping[str, Callable[[Writer, Node], None]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "pointwise": _pointwise,
    "dense": _dense,
    "relu": _same("Relu"),
    "relu6": _relu6,
    "hswish": _same("HardSwish"),
    "hsigmoid": _hsigmoid,
    "sigmoid": _same("Sigmoid"),
    "gelu": _gelu,
    "identity": _same("Identity"),
    "add": _same("Add"),
    "mul": _same("Mul"),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_pool": _same("GlobalAveragePool"),
    "pad": _pad,
    "reshape": _reshape,
    "softmax": _softmax,
}
