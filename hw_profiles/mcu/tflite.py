"""An int8 network as a TensorFlow Lite file, without TensorFlow.

Windows that are padded neither as SAME nor as VALID get a PAD before them. Functions of one value
that TensorFlow Lite lacks, or rounds otherwise, are looked up (CAST, ADD, GATHER): so the file
computes what the C code computes, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hw_profiles.mcu.layers import Depthwise, Quantization, Softmax, Window
from hw_profiles.mcu.lower import Call, Int8Network
from hw_profiles.mcu.toolchain import require
from search_spaces.errors import InputError

# Versions of the operators from which on they are there in int8.
_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "ADD": 2,
    "MUL": 2,
    "SOFTMAX": 2,
    "PAD": 2,
    "PADV2": 2,
    "RELU": 2,
    "RELU6": 2,
    "GATHER": 2,
}
_BUILT_IN = {"hswish": "HARD_SWISH", "relu": "RELU", "relu6": "RELU6"}


def to_tflite(network: Int8Network, description: str = "hwnas") -> bytes:
    """The file.

    Args:
        network: the layers; input and output are int8.
        description: a line that the file carries.

    Raises:
        InputError: a layer has no form in TensorFlow Lite, or the extra `tflite` is missing.
    """
    writer = _Writer(network)
    for call in network.calls:
        _EMITTERS[call.layer.op](writer, call)
    return writer.finished(description)


class _Writer:
    def __init__(self, network: Int8Network) -> None:
        self.network = network
        self.schema: Any = require("ai_edge_litert.schema_py_generated", "tflite")
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [self.schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}
        self._numbers: dict[str, int] = {}

    def tensor(self, name: str) -> int:
        """Number of a tensor of the network."""
        if name not in self._numbers:
            kind, shape = self.network.quantization[name], (1, *self.network.shapes[name])
            self._numbers[name] = self.add(name, shape, "INT8", kind)
        return self._numbers[name]

    def add(
        self,
        name: str,
        shape: Sequence[int],
        kind: str,
        quantization: Quantization | tuple[np.ndarray, int] | None = None,
        data: np.ndarray | None = None,
    ) -> int:
        """A tensor; with one step, or with steps along an axis."""
        schema = self.schema
        steps = schema.QuantizationParametersT()
        if isinstance(quantization, Quantization):
            steps.scale, steps.zeroPoint = [quantization.scale], [quantization.zero_point]
        elif quantization is not None:
            scales, steps.quantizedDimension = quantization
            steps.scale, steps.zeroPoint = scales.tolist(), [0] * len(scales)
        buffer = 0
        if data is not None:
            buffer = len(self._buffers)
            content = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self._buffers.append(schema.BufferT(data=content))
        self._tensors.append(
            schema.TensorT(
                shape=[int(size) for size in shape],
                type=getattr(schema.TensorType, kind),
                buffer=buffer,
                name=name.encode(),
                quantization=steps if quantization is not None else None,
            )
        )
        return len(self._tensors) - 1

    def integers(self, name: str, values: np.ndarray) -> int:
        """A constant of int32."""
        return self.add(name, values.shape, "INT32", None, values.astype(np.int32))

    def reshaped(self, source: int, name: str, shape: tuple[int, ...], kind: Quantization) -> int:
        """The same values under another shape."""
        made = self.add(name, (1, *shape), "INT8", kind)
        target = self.integers(f"{name}/shape", np.array([1, *shape]))
        self.operator("RESHAPE", [source, target], made, "ReshapeOptions")
        return made

    def operator(
        self, code: str, inputs: Sequence[int], output: int, options: str = "", **values: Any
    ) -> None:
        """An operator with the fields of its options."""
        schema = self.schema
        made = schema.OperatorT(
            opcodeIndex=self._codes.setdefault(code, len(self._codes)),
            inputs=list(inputs),
            outputs=[output],
        )
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, f"{options}T")(**values)
        self._operators.append(made)

    def finished(self, description: str) -> bytes:
        """The file's bytes."""
        schema, network = self.schema, self.network
        flatbuffers: Any = require("flatbuffers", "tflite")
        codes = [getattr(schema.BuiltinOperator, code) for code in self._codes]
        graph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=[self.tensor(name) for name in network.inputs],
            outputs=[self.tensor(name) for name in network.outputs],
            operators=self._operators,
            name=b"main",
        )
        model = schema.ModelT(
            version=3,
            description=description.encode(),
            operatorCodes=[
                schema.OperatorCodeT(
                    deprecatedBuiltinCode=min(code, 127),
                    builtinCode=code,
                    version=_VERSIONS.get(name, 1),
                )
                for name, code in zip(self._codes, codes, strict=True)
            ],
            subgraphs=[graph],
            buffers=self._buffers,
        )
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _ends(window: Window) -> list[tuple[int, int]]:
    """Padding before and behind each axis, as far as windows read."""
    sizes = zip(
        window.pad, window.in_size, window.out_size, window.kernel, window.stride, strict=True
    )
    return [(pad, max((out - 1) * s + k - pad - i, 0)) for pad, i, out, k, s in sizes]


def _padding(writer: _Writer, call: Call, window: Window, channels: int) -> tuple[int, int]:
    """The tensor that a window reads, padded where it must be, and the kind of its padding."""
    schema, source = writer.schema, writer.tensor(call.reads[0])
    if window == Window.same(window.in_size, window.kernel, window.stride):
        return source, schema.Padding.SAME
    ends = _ends(window)
    if not any(max(pair) for pair in ends):
        return source, schema.Padding.VALID
    if call.layer.op == "average_pool":
        raise InputError(
            f"{call.name}: TensorFlow Lite has no average pool that leaves out a padding of {ends}"
        )
    height, width = (i + sum(pair) for i, pair in zip(window.in_size, ends, strict=True))
    kind = writer.network.quantization[call.reads[0]]
    padded = writer.add(f"{call.name}/padded", (1, height, width, channels), "INT8", kind)
    edges = writer.integers(f"{call.name}/edges", np.array([(0, 0), *ends, (0, 0)]))
    if call.layer.op == "max_pool":
        least = writer.add(f"{call.name}/least", (1,), "INT8", kind, np.array([-128], np.int8))
        writer.operator("PADV2", [source, edges, least], padded, "PadV2Options")
    else:
        writer.operator("PAD", [source, edges], padded, "PadOptions")
    return padded, schema.Padding.VALID


def _weighted(writer: _Writer, call: Call, source: int, weight: np.ndarray, axis: int) -> list[int]:
    layer: Any = call.layer
    scales = layer.weight_scale
    name = f"{call.name}/weight"
    weights = writer.add(name, weight.shape, "INT8", (scales, axis), weight)
    steps = (scales * np.float32(layer.input.scale), 0)
    bias = writer.add(f"{call.name}/bias", layer.bias.shape, "INT32", steps, layer.bias)
    return [source, weights, bias]


def _conv(writer: _Writer, call: Call) -> None:
    layer: Any = call.layer
    window = layer.window
    depthwise = isinstance(layer, Depthwise)
    source, padding = _padding(writer, call, window, layer.in_shape[-1])
    strides = {"padding": padding, "strideH": window.stride[0], "strideW": window.stride[1]}
    if depthwise:
        inputs = _weighted(writer, call, source, layer.weight[None], 3)
        code, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
        strides["depthMultiplier"] = 1
    else:
        inputs = _weighted(writer, call, source, layer.weight, 0)
        code, options = "CONV_2D", "Conv2DOptions"
    writer.operator(code, inputs, writer.tensor(call.makes), options, **strides)


def _pointwise(writer: _Writer, call: Call) -> None:
    layer: Any = call.layer
    weight = layer.weight[:, None, None, :]
    inputs = _weighted(writer, call, writer.tensor(call.reads[0]), weight, 0)
    strides = {"padding": writer.schema.Padding.VALID, "strideH": 1, "strideW": 1}
    writer.operator("CONV_2D", inputs, writer.tensor(call.makes), "Conv2DOptions", **strides)


def _fully_connected(writer: _Writer, call: Call) -> None:
    """As a convolution of the whole map: FULLY_CONNECTED rounds otherwise with steps by channel."""
    layer: Any = call.layer
    (read,), network = call.reads, writer.network
    shape = network.shapes[read]
    source = writer.tensor(read)
    if len(shape) == 1:
        shape = (1, 1, *shape)
        source = writer.reshaped(source, f"{call.name}/in", shape, network.quantization[read])
    inputs = _weighted(writer, call, source, layer.weight.reshape(-1, *shape), 0)
    strides = {"padding": writer.schema.Padding.VALID, "strideH": 1, "strideW": 1}
    features = layer.weight.shape[0]
    kind = network.quantization[call.makes]
    made = writer.add(f"{call.name}/map", (1, 1, 1, features), "INT8", kind)
    writer.operator("CONV_2D", inputs, made, "Conv2DOptions", **strides)
    target = writer.integers(f"{call.name}/shape", np.array([1, features]))
    writer.operator("RESHAPE", [made, target], writer.tensor(call.makes), "ReshapeOptions")


def _pool(writer: _Writer, call: Call) -> None:
    layer: Any = call.layer
    window = layer.window
    source, padding = _padding(writer, call, window, layer.channels)
    code = {"max_pool": "MAX_POOL_2D", "average_pool": "AVERAGE_POOL_2D"}[layer.op]
    _pooled(writer, call, code, source, window.kernel, window.stride, padding)


def _global_pool(writer: _Writer, call: Call) -> None:
    height, width, _ = writer.network.shapes[call.reads[0]]
    source, padding = writer.tensor(call.reads[0]), writer.schema.Padding.VALID
    _pooled(writer, call, "AVERAGE_POOL_2D", source, (height, width), (1, 1), padding)


def _pooled(
    writer: _Writer,
    call: Call,
    code: str,
    source: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: int,
) -> None:
    sizes = {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    steps = {"strideH": stride[0], "strideW": stride[1], "padding": padding}
    made = writer.tensor(call.makes)
    writer.operator(code, [source], made, "Pool2DOptions", **sizes, **steps)


def _two(code: str, options: str) -> Callable[[_Writer, Call], None]:
    def emit(writer: _Writer, call: Call) -> None:
        inputs = [writer.tensor(name) for name in call.reads]
        writer.operator(code, inputs, writer.tensor(call.makes), options)

    return emit


def _softmax(writer: _Writer, call: Call) -> None:
    made = writer.tensor(call.makes)
    inputs = [writer.tensor(call.reads[0])]
    writer.operator("SOFTMAX", inputs, made, "SoftmaxOptions", beta=1.0)


def _table(writer: _Writer, call: Call) -> None:
    source, made = writer.tensor(call.reads[0]), writer.tensor(call.makes)
    if call.op in _BUILT_IN:
        writer.operator(_BUILT_IN[call.op], [source], made)
        return
    layer: Any = call.layer
    shape = (1, *writer.network.shapes[call.reads[0]])
    wide = writer.add(f"{call.name}/wide", shape, "INT32")
    place = writer.add(f"{call.name}/place", shape, "INT32")
    kind = writer.network.quantization[call.makes]
    table = writer.add(f"{call.name}/table", (256,), "INT8", kind, layer.table)
    writer.operator("CAST", [source], wide, "CastOptions", **_cast(writer))
    middle = writer.integers(f"{call.name}/middle", np.array([128]))
    writer.operator("ADD", [wide, middle], place, "AddOptions")
    writer.operator("GATHER", [table, place], made, "GatherOptions")


def _cast(writer: _Writer) -> dict[str, int]:
    kinds = writer.schema.TensorType
    return {"inDataType": kinds.INT8, "outDataType": kinds.INT32}


_EMITTERS: Mapping[str, Callable[[_Writer, Call], None]] = {
    "conv": _conv,
    "depthwise": _conv,
    "pointwise": _pointwise,
    "fully_connected": _fully_connected,
    "max_pool": _pool,
    "average_pool": _pool,
    "global_pool": _global_pool,
    "add": _two("ADD", "AddOptions"),
    "multiply": _two("MUL", "MulOptions"),
    Softmax.op: _softmax,
    "table": _table,
}
