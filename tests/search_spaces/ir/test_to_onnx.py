"""Each op against numpy written out here, whole graphs, and the properties of the file."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import erf
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.errors import RunError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.ir.graph import DType, Graph, TensorType
from search_spaces.ir.ops import OPS
from search_spaces.ir.to_onnx import EMITTERS, OPSET, check, to_bytes, to_onnx

Arrays = dict[str, np.ndarray]


def draw(shape: tuple[int, ...], define: Callable[[Builder, Tensor], Tensor]) -> Graph:
    b = Builder((), {})
    return b.graph(define(b, b.input("image", shape)))


def random_params(graph: Graph, seed: int = 0) -> dict[str, Arrays]:
    rng = np.random.default_rng(seed)
    return {
        node.name: {
            name: rng.normal(0, spec.fan_in**-0.5, spec.shape).astype(np.float32)
            for name, spec in node.params.items()
        }
        for node in graph.nodes
        if node.params
    }


def random_images(graph: Graph, n: int, seed: int = 1) -> np.ndarray:
    (kind,) = graph.inputs.values()
    return np.random.default_rng(seed).normal(size=(n, *kind.shape), scale=3).astype(np.float32)


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1) if x.ndim == 4 else x


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """Output of the network, channels last."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        to_bytes(model), options, providers=["CPUExecutionProvider"]
    )
    out = np.asarray(session.run(None, {"image": channels_first(images)})[0])
    return np.moveaxis(out, 1, -1) if out.ndim == 4 else out


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


# A reference that shares nothing with the code under test: loops over positions, float64.


def windows(x: np.ndarray, attrs: dict, fill: float):
    """`(i, j, patch)` for each output position, patches padded with `fill`."""
    kernel, stride, padding = attrs["kernel"], attrs["stride"], attrs["padding"]
    edges = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    x = np.pad(x, edges, constant_values=fill)
    for i in range((x.shape[1] - kernel) // stride + 1):
        for j in range((x.shape[2] - kernel) // stride + 1):
            top, left = i * stride, j * stride
            yield i, j, x[:, top : top + kernel, left : left + kernel]


def slide(x: np.ndarray, attrs: dict, fill: float, reduce: Callable) -> np.ndarray:
    out = {(i, j): reduce(patch) for i, j, patch in windows(x, attrs, fill)}
    rows, columns = (1 + max(position[axis] for position in out) for axis in (0, 1))
    return np.stack([np.stack([out[i, j] for j in range(columns)], 1) for i in range(rows)], 1)


def hsigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0, 6) / 6


def softmax(x: np.ndarray) -> np.ndarray:
    exp = np.exp(x - x.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def linear(x: np.ndarray, weight: np.ndarray, bias=0, **_) -> np.ndarray:
    return x @ weight + bias


def conv(x: np.ndarray, weight: np.ndarray, bias=0, **window) -> np.ndarray:
    return slide(x, window, 0, lambda patch: np.einsum("nijc,ijco->no", patch, weight)) + bias


def depthwise(x: np.ndarray, weight: np.ndarray, bias=0, **window) -> np.ndarray:
    return slide(x, window, 0, lambda patch: (patch * weight).sum((1, 2))) + bias


REFERENCE: dict[str, Callable[..., np.ndarray]] = {
    "conv": conv,
    "depthwise": depthwise,
    "pointwise": linear,
    "dense": linear,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hswish": lambda x: x * hsigmoid(x),
    "hsigmoid": hsigmoid,
    "sigmoid": lambda x: (1 + np.tanh(x / 2)) / 2,
    "gelu": lambda x: x * (1 + np.vectorize(erf)(x / 2**0.5)) / 2,
    "softmax": softmax,
    "identity": lambda x: x,
    "zero": np.zeros_like,
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "max_pool": lambda x, **window: slide(x, window, -np.inf, lambda patch: patch.max((1, 2))),
    "avg_pool": lambda x, **window: slide(x, window, np.nan, lambda p: np.nanmean(p, (1, 2))),
    "global_pool": lambda x: x.mean((1, 2), keepdims=True),
    "pad": lambda x, top, bottom, left, right: np.pad(
        x, [(0, 0), (top, bottom), (left, right), (0, 0)]
    ),
    "reshape": lambda x, shape: x.reshape(len(x), *shape),
}


def reference(graph: Graph, params: dict[str, Arrays], images: np.ndarray) -> np.ndarray:
    values: Arrays = {"image": images.astype(np.float64)}
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        values[node.name] = REFERENCE[node.op](
            *inputs, **{**node.attrs, **params.get(node.name, {})}
        )
    return values[graph.outputs[0]]


def assert_same(graph: Graph, n: int = 3, seed: int = 0) -> onnx.ModelProto:
    params, images = random_params(graph, seed), random_images(graph, n, seed + 1)
    model = check(to_onnx(graph, params))
    expected = reference(graph, params, images)
    np.testing.assert_allclose(
        run(model, images), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )
    return model


MAP = (7, 6, 4)
WINDOW = {"kernel": 3, "stride": 2, "padding": 1}
CASES: list[tuple[str, tuple[int, ...], dict]] = [
    ("conv", MAP, {"kernel": 3, "stride": 1, "padding": 1, "features": 5, "bias": True}),
    ("conv", MAP, {"kernel": 5, "stride": 2, "padding": 2, "features": 3, "bias": False}),
    ("depthwise", MAP, {"kernel": 3, "stride": 1, "padding": 1, "bias": True}),
    ("depthwise", MAP, {"kernel": 5, "stride": 2, "padding": 2, "bias": False}),
    ("pointwise", MAP, {"features": 5, "bias": True}),
    ("pointwise", (1, 1, 4), {"features": 5, "bias": False}),
    ("dense", (6,), {"features": 5, "bias": True}),
    ("dense", (6,), {"features": 5, "bias": False}),
    *[(op, MAP, {}) for op in ("relu", "relu6", "hswish", "hsigmoid", "sigmoid", "gelu")],
    *[(op, (9,), {}) for op in ("relu6", "hswish", "gelu", "softmax")],
    ("softmax", MAP, {}),
    ("identity", MAP, {}),
    ("zero", MAP, {}),
    ("max_pool", MAP, WINDOW),
    ("max_pool", MAP, {"kernel": 2, "stride": 2, "padding": 0}),
    ("avg_pool", MAP, WINDOW),
    ("avg_pool", MAP, {"kernel": 3, "stride": 1, "padding": 1}),
    ("global_pool", MAP, {}),
    ("pad", MAP, {"top": 1, "bottom": 2, "left": 0, "right": 3}),
    ("reshape", (1, 1, 6), {"shape": (6,)}),
    ("reshape", MAP, {"shape": (168,)}),
    ("reshape", MAP, {"shape": (6, 7, 4)}),
    ("reshape", MAP, {"shape": (4, 6, 7)}),
    ("reshape", MAP, {"shape": (42, 4)}),
    ("reshape", (42, 4), {"shape": MAP}),
    ("reshape", (168,), {"shape": MAP}),
    ("reshape", (6,), {"shape": (1, 1, 6)}),
    ("reshape", (12, 1, 1), {"shape": (2, 3, 2)}),
]


@pytest.mark.parametrize(("op", "shape", "attrs"), CASES)
def test_op_alone_equals_numpy(op, shape, attrs):
    assert_same(draw(shape, lambda b, x: b.node("y", op, (x,), **attrs)))


@pytest.mark.parametrize("op", ["add", "mul"])
def test_op_of_two_tensors_equals_numpy(op):
    assert_same(draw(MAP, lambda b, x: b.node("z", op, (x, b.node("y", "relu", (x,))))))


def test_mul_by_a_gate_per_channel_equals_numpy():
    assert_same(draw(MAP, lambda b, x: b.node("z", "mul", (x, b.node("y", "global_pool", (x,))))))


def test_every_op_of_the_table_is_emitted_and_tested():
    exported = {name for name, op in OPS.items() if not op.super_only} - {"batch_norm"}
    assert set(EMITTERS) == exported
    assert {op for op, _, _ in CASES} | {"add", "mul"} == exported


# Layout


def flat_network(b: Builder, x: Tensor) -> Tensor:
    x = b.pointwise("a", x, 5)
    return b.dense("logits", b.node("flat", "reshape", (x,), shape=(7 * 6 * 5,)), 3)


def test_dense_on_a_flattened_map_takes_permuted_weights_instead_of_a_transpose():
    model = assert_same(draw(MAP, flat_network))
    assert op_types(model) == ["Conv", "Reshape", "Gemm"]


def test_two_dense_nodes_may_share_a_flattened_map():
    def define(b: Builder, x: Tensor) -> Tensor:
        flat = b.node("flat", "reshape", (x,), shape=(168,))
        return b.add("sum", b.dense("a", flat, 3), b.dense("b", flat, 3))

    assert "Transpose" not in op_types(assert_same(draw(MAP, define)))


def test_a_flattened_map_that_something_else_reads_is_transposed():
    def define(b: Builder, x: Tensor) -> Tensor:
        flat = b.node("flat", "reshape", (x,), shape=(168,))
        return b.add("sum", b.dense("a", flat, 168), flat)

    assert op_types(assert_same(draw(MAP, define))).count("Transpose") == 1


def test_a_flattened_map_that_is_an_output_is_transposed():
    graph = replace(draw(MAP, flat_network), outputs=("flat",))
    assert "Transpose" in op_types(assert_same(graph))


# Whole graphs


def random_network(draws: Callable[[st.SearchStrategy], Any]) -> Graph:
    """Convolutions, activations, pools, squeeze-excite and residuals."""
    b = Builder((), {})
    shape = (draws(st.integers(4, 9)), draws(st.integers(4, 9)), draws(st.integers(1, 5)))
    x = b.input("image", shape)
    activations = st.sampled_from(["relu", "relu6", "hswish", "hsigmoid", "sigmoid", "gelu"])
    for i in range(draws(st.integers(1, 4))):
        with b.block(f"b{i}"):
            kernel, stride = draws(st.sampled_from([1, 3, 5])), draws(st.sampled_from([1, 1, 2]))
            features, bias = draws(st.integers(1, 9)), draws(st.booleans())
            y = b.pointwise("expand", x, features, bias)
            y = b.activation("act", y, draws(activations))
            y = b.depthwise("depthwise", y, kernel, stride, bias)
            if draws(st.booleans()):
                y = b.squeeze_excite(y, draws(st.integers(1, 4)))
            if draws(st.booleans()):
                y = b.node("pool", "avg_pool", (y,), kernel=3, stride=1, padding=1)
            y = b.conv("project", y, draws(st.sampled_from([b.channels(x), 3])), 3, bias=bias)
            x = b.add("add", y, x) if b.shape(x) == b.shape(y) else y
    if draws(st.booleans()):
        x = b.node("pool", "global_pool", (x,))
    x = b.node("flat", "reshape", (x,), shape=(int(np.prod(b.shape(x))),))
    return b.graph(b.dense("logits", x, draws(st.integers(1, 4))))


@settings(max_examples=25)
@given(data=st.data())
def test_random_networks_equal_numpy_without_a_transpose(data):
    graph = random_network(data.draw)
    n, seed = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 99))
    assert "Transpose" not in op_types(assert_same(graph, n, seed))


# The file


@pytest.fixture(scope="module")
def network() -> Graph:
    def define(b: Builder, x: Tensor) -> Tensor:
        x = b.activation("act", b.conv("conv", x, 16, 3, bias=True), "hswish")
        x = b.add("add", b.pointwise("project", b.squeeze_excite(x, 8), 16, True), x)
        x = b.node("pool", "global_pool", (b.activation("gelu", x, "gelu"),))
        return b.dense("logits", b.node("flat", "reshape", (x,), shape=(16,)), 3)

    return draw((8, 8, 3), define)


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_names_shapes_and_opset_are_those_promised(network):
    model = check(to_onnx(network, random_params(network)))
    assert [(i.name, dims(i)) for i in model.graph.input] == [("image", ["batch", 3, 8, 8])]
    assert [(o.name, dims(o)) for o in model.graph.output] == [("logits", ["batch", 3])]
    assert {node.name for node in network.nodes} <= {node.name for node in model.graph.node}
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert OPSET >= 17
    assert model.ir_version == 8
    fixed = to_onnx(network, random_params(network), dynamic_batch=False)
    assert dims(fixed.graph.input[0]) == [1, 3, 8, 8]


def test_a_map_may_be_the_output_and_is_channels_first(network):
    model = to_onnx(replace(network, outputs=("add",)), random_params(network))
    assert dims(model.graph.output[0]) == ["batch", 16, 8, 8]


def test_one_file_serves_every_batch_size_with_the_same_numbers(network):
    params, images = random_params(network), random_images(network, 5)
    model = to_onnx(network, params)
    together = run(model, images)
    singles = np.concatenate([run(model, image[None]) for image in images])
    np.testing.assert_allclose(together, singles, rtol=1e-4, atol=1e-5)
    fixed = run(to_onnx(network, params, dynamic_batch=False), images[:1])
    np.testing.assert_allclose(fixed, singles[:1], rtol=1e-4, atol=1e-5)


def test_metadata_is_carried_sorted_by_key(network):
    metadata = {"seed": "3", "arch": json.dumps([1, 2])}
    model = to_onnx(network, random_params(network), metadata=metadata)
    assert [(p.key, p.value) for p in model.metadata_props] == sorted(metadata.items())
    assert model.producer_name == "hwnas"


def test_equal_inputs_give_equal_bytes_in_whatever_order_parameters_come(network):
    params = random_params(network)
    backwards = {name: dict(reversed(values.items())) for name, values in reversed(params.items())}
    first = to_bytes(to_onnx(network, params, metadata={"a": "1", "b": "2"}))
    assert first == to_bytes(to_onnx(network, backwards, metadata={"b": "2", "a": "1"}))
    params["conv"]["bias"][0] += 1
    assert first != to_bytes(to_onnx(network, params, metadata={"a": "1", "b": "2"}))


def test_the_runtime_fuses_activations_residual_and_gelu(network, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimised file is for this machine only
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    data = to_bytes(to_onnx(network, random_params(network)))
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    kept = op_types(onnx.load(options.optimized_model_filepath))
    assert not set(kept) & {"Relu", "Erf", "Transpose"}
    assert kept.count("Gelu") == 1
    if platform.machine() == "x86_64":  # the blocked layout exists there only
        assert not set(kept) & {"HardSwish", "HardSigmoid", "Add"}
        assert kept.count("Conv") == 4


def test_importing_it_does_not_import_jax():
    code = "import sys, search_spaces.ir.to_onnx; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# What is refused


def test_batch_norm_is_refused_with_the_fix():
    graph = draw(MAP, lambda b, x: b.batch_norm("norm", x))
    with pytest.raises(RunError, match=r"^norm: .*folded before export.*fold_batchnorm"):
        to_onnx(graph, random_params(graph))


def test_gates_are_refused_with_the_fix():
    def define(b: Builder, x: Tensor) -> Tensor:
        y = b.node("y", "relu", (x,))
        return b.node("gate", "gate", (y, x), knob="depth", index=1)

    with pytest.raises(RunError, match=r"^gate: .*super-graph"):
        to_onnx(draw(MAP, define), {})


def test_an_op_that_nobody_wrote_down_is_refused(network):
    nodes = (replace(network.nodes[0], op="fft"), *network.nodes[1:])
    with pytest.raises(RunError, match=r"^conv: op 'fft' has no ONNX form"):
        to_onnx(replace(network, nodes=nodes), random_params(network))


def test_int8_tensors_are_refused(network):
    graph = replace(network, inputs={"image": TensorType((8, 8, 3), DType.INT8)})
    with pytest.raises(RunError, match="image: int8"):
        to_onnx(graph, random_params(network))


def test_parameters_that_do_not_fit_are_refused(network):
    params = random_params(network)
    del params["logits"]["bias"]
    with pytest.raises(RunError, match="logits: no parameter 'bias'"):
        to_onnx(network, params)
    params = random_params(network)
    params["conv"]["weight"] = params["conv"]["weight"][..., :8]
    with pytest.raises(RunError, match=r"conv: weight is \(3, 3, 3, 8\), the graph says"):
        to_onnx(network, params)
