"""Graph to ONNX, one table op at a time.

The file is what a hand would write: an image is `(batch, channels, height, width)`, weights are
transposed while they are written (OIHW), so the network holds no Transpose; a node's tensor
carries its name, so the runtime's profile, the latency table and the graph speak of the same
things. Equal graphs and parameters give equal bytes.

A new op is one function and one line in `EMITTERS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from search_spaces.errors import RunError
from search_spaces.ir.graph import DType, Graph, Node, TensorType
from search_spaces.ir.onnx_writer import Params, Writer
from search_spaces.ir.quantize import in_8_bits, same_bits

# The lowest that the project promises, so that old runtimes read the file too (onnxruntime 1.12).
# It lacks only Gelu (opset 20), whose exact form below onnxruntime fuses to the same kernel.
OPSET = 17

BATCH = "batch"


def to_onnx(
    graph: Graph,
    params: Params,
    *,
    metadata: Mapping[str, str] | None = None,
    dynamic_batch: bool = True,
) -> onnx.ModelProto:
    """The graph as an ONNX model, which `check` has not seen yet.

    Args:
        graph: without batch norm, gates and selects (see `passes.fold_batchnorm`), float32 or
            with tensors in 8 bits (see `quantize.quantize`).
        params: `{node: {parameter: array}}` in the graph's layouts, numpy or JAX, float32.
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
        if in_8_bits(graph, node.name) and (node.op == "identity" or same_bits(graph, node)):
            writer.keep(node)
        else:
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
    return model


def check(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, held against ONNX's own rules: half of the time that a model for timing takes."""
    onnx.checker.check_model(model, full_check=True)
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """The model as a file's content, equal for equal models."""
    return model.SerializeToString(deterministic=True)


def _check_exportable(graph: Graph) -> None:
    problems = [
        f"{node.name}: {_REFUSED.get(node.op, f'op {node.op!r} has no ONNX form')}"
        for node in graph.nodes
        if node.op not in EMITTERS
    ]
    tensors = {**graph.inputs, **{node.name: node.out for node in graph.nodes}}
    problems += [
        f"{name}: {kind.dtype.value} tensors are not exported, only float32 and rounded ones"
        for name, kind in tensors.items()
        if kind.dtype != DType.FLOAT32 and (name in graph.inputs or kind.dtype != DType.UINT8)
    ]
    if problems:
        raise RunError("\n".join(problems))


_REFUSED = {
    "batch_norm": "batch norm is folded before export: call fold_batchnorm and fold_params",
    "gate": "a gate belongs to the super-graph: build one architecture, not None",
    "select": "a select belongs to the super-graph: build one architecture, not None",
}


def _permuted_by_dense(graph: Graph, name: str) -> tuple[int, ...] | None:
    """Shape of the map that a reshape makes a vector of, if only dense nodes read that.

    Then their weights take the new order. Everywhere else the vector has to be in the graph's
    channels-last order, at the price of a Transpose.
    """
    node = graph.by_name.get(name)
    if node is None or node.op != "reshape" or len(node.out.shape) != 1 or name in graph.outputs:
        return None
    shape = graph.type_of(node.inputs[0]).shape
    only_dense = all(reader.op == "dense" for reader in graph.readers.get(name, ()))
    return shape if _order_matters(shape) and only_dense else None


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


def _linear(writer: Writer, node: Node, weight: np.ndarray) -> list[str]:
    """Inputs of a convolution or Gemm; the weight has the output channels first."""
    return [*node.inputs, writer.weight(node, weight), *writer.bias(node)]


def _conv(writer: Writer, node: Node) -> None:
    inputs = _linear(writer, node, writer.value(node, "weight").transpose(3, 2, 0, 1))
    writer.emit("Conv", inputs, node.name, **_window(node))


def _depthwise(writer: Writer, node: Node) -> None:
    value = writer.value(node, "weight").transpose(2, 0, 1)[:, None]
    inputs = _linear(writer, node, value)
    writer.emit("Conv", inputs, node.name, group=len(value), **_window(node))


def _pointwise(writer: Writer, node: Node) -> None:
    inputs = _linear(writer, node, writer.value(node, "weight").T[:, :, None, None])
    writer.emit("Conv", inputs, node.name, kernel_shape=[1, 1])


def _dense(writer: Writer, node: Node) -> None:
    value = writer.value(node, "weight")
    if shape := _permuted_by_dense(writer.graph, node.inputs[0]):
        value = value.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(value.shape)
    # (cout, cin) and transB: the layout that every converter and quantiser expects of a Gemm.
    writer.emit("Gemm", _linear(writer, node, value.T), node.name, transB=1)


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


def _zero(writer: Writer, node: Node) -> None:
    """As a product, since the batch is open: a constant could not have the shape."""
    writer.emit("Mul", [*node.inputs, writer.scalar(0.0)], node.name)


def _softmax(writer: Writer, node: Node) -> None:
    """Over the channels, which a map has at axis 1."""
    writer.emit("Softmax", node.inputs, node.name, axis=1 if len(node.out.shape) == 3 else -1)


def _reshape(writer: Writer, node: Node) -> None:
    """A reshape of channels-last elements; Transposes only where the order of elements shows."""
    (tensor,) = node.inputs
    source, target = writer.graph.type_of(tensor).shape, node.out.shape
    permuted = _permuted_by_dense(writer.graph, node.name) is not None
    same_channels = len(source) == len(target) == 3 and source[2] == target[2]
    if _order_matters(source) and not same_channels and not permuted:
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
    "zero": _zero,
    "add": _same("Add"),
    "mul": _same("Mul"),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_pool": _same("GlobalAveragePool"),
    "pad": _pad,
    "reshape": _reshape,
    "softmax": _softmax,
}
