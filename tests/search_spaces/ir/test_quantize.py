"""What is stored in 8 bits, what the written file computes, and what the runtime makes of it."""

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from search_spaces.ir.builder import Builder, Tensor
from search_spaces.ir.count import count
from search_spaces.ir.graph import DType, Graph, TensorType
from search_spaces.ir.interpret import apply
from search_spaces.ir.ops import STORED, GraphError, make_node
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.quantize import is_quantized, quantize, stored_in_8_bits
from search_spaces.ir.serialize import from_dict, to_dict
from search_spaces.ir.to_onnx import check, to_bytes, to_onnx
from search_spaces.registry import create

Arrays = dict[str, np.ndarray]
Define = Callable[[Builder, Tensor], Tensor]
WINDOW = {"kernel": 3, "stride": 2, "padding": 1}


def draw(define: Define, shape: tuple[int, ...] = (8, 8, 16)) -> Graph:
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


def random_images(graph: Graph, n: int = 4) -> np.ndarray:
    (kind,) = graph.inputs.values()
    return np.random.default_rng(1).normal(size=(n, *kind.shape)).astype(np.float32)


def run_float(graph: Graph, params: Mapping[str, Arrays], images: np.ndarray) -> Arrays:
    """Every tensor of a float32 graph."""
    names = tuple(graph.by_name)
    trees = {n: {k: jnp.asarray(v) for k, v in own.items()} for n, own in params.items()}
    inputs = {"image": jnp.asarray(images)}
    values, _ = apply(replace(graph, outputs=names), trees, inputs, stats={})
    return {"image": images, **{n: np.asarray(v) for n, v in zip(names, values, strict=True)}}


def quantized(graph: Graph, params: Mapping[str, Arrays], images: np.ndarray) -> Graph:
    values = run_float(graph, params, images)
    return quantize(graph, {n: (float(v.min()), float(v.max())) for n, v in values.items()})


def run_onnx(graph: Graph, params: Mapping[str, Arrays], images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        to_bytes(check(to_onnx(graph, params))), options, providers=["CPUExecutionProvider"]
    )
    feed = np.moveaxis(images, -1, 1) if images.ndim == 4 else images
    out = np.asarray(session.run(None, {"image": feed})[0])
    return np.moveaxis(out, 1, -1) if out.ndim == 4 else out


def rounded(values: np.ndarray, step: float, zero_point: int) -> np.ndarray:
    stored = np.clip(np.rint(values / step) + zero_point, 0, 255)
    return ((stored - zero_point) * step).astype(np.float32)


def residual(b: Builder, x: Tensor, activation: str, squeeze: bool = False) -> Tensor:
    y = b.activation("a", b.pointwise("expand", x, 32, bias=True), activation)
    y = b.activation("b", b.depthwise("spatial", y, 3, bias=True), activation)
    if squeeze:
        gate = b.pointwise("squeeze", b.node("pooled", "global_pool", (y,)), 8, bias=True)
        gate = b.pointwise("excite", b.activation("s", gate, "relu"), 32, bias=True)
        y = b.node("scaled", "mul", (y, b.activation("gate", gate, "hsigmoid")))
    return b.add("sum", x, b.pointwise("project", y, b.channels(x), bias=True))


def classifier(b: Builder, x: Tensor, activation: str = "relu", squeeze: bool = False) -> Tensor:
    x = b.activation("first", b.conv("stem", x, 16, 3, 2, bias=True), activation)
    x = b.node("pool", "global_pool", (residual(b, x, activation, squeeze),))
    return b.dense("logits", b.node("flat", "reshape", (x,), shape=(16,)), 10)


# What is stored in 8 bits


def test_all_of_a_relu_network_but_its_logits_is_stored_in_8_bits():
    graph = draw(classifier)
    assert set(stored_in_8_bits(graph)) == {"image", *graph.by_name} - {"logits"}


def test_h_swish_and_the_gate_stay_in_float():
    graph = draw(lambda b, x: classifier(b, x, "hswish", squeeze=True))
    floats = set(graph.by_name) - set(stored_in_8_bits(graph))
    # What h-swish gives to squeeze-excite stays in float up to the product, where it is read next.
    assert floats == {"b", "gate", "logits"}
    graph = draw(lambda b, x: classifier(b, x, "relu", squeeze=True))
    assert set(graph.by_name) - set(stored_in_8_bits(graph)) == {"logits"}


def test_nothing_is_stored_where_nothing_computes_in_integers():
    graph = draw(lambda b, x: b.node("pool", "max_pool", (b.activation("a", x, "relu"),), **WINDOW))
    assert stored_in_8_bits(graph) == ()
    assert not is_quantized(quantize(graph, {}))


def test_what_blocks_hand_over_is_stored():
    graph = draw(lambda b, x: b.node("border", "identity", (b.activation("a", x, "hswish"),)))
    assert stored_in_8_bits(graph) == ("a", "border")


def test_nodes_keep_their_names_and_types_say_8_bits():
    graph = draw(classifier)
    result = quantize(graph, dict.fromkeys(stored_in_8_bits(graph), (-1.0, 3.0)))
    assert [node.name for node in result.nodes] == ["image/rounded", *graph.by_name]
    assert result.inputs == graph.inputs
    assert result.type_of("logits").dtype == DType.FLOAT32
    assert {node.out.dtype for node in result.nodes if node.name != "logits"} == {DType.UINT8}
    assert is_quantized(result)
    assert not is_quantized(graph)
    assert from_dict(to_dict(result)) == result


def test_a_relu_is_done_by_the_steps_of_what_it_reads():
    def define(b: Builder, x: Tensor) -> Tensor:
        x = b.activation("first", b.pointwise("one", x, 16), "relu")
        x = b.activation("second", b.pointwise("two", x, 16), "relu6")
        return b.node("pool", "max_pool", (x,), **WINDOW)

    graph = draw(define)
    ranges = {"image": (-1.0, 1.0), "first": (0.0, 5.1), "second": (0.0, 9.0)}
    attrs = {n.name: n.attrs for n in quantize(graph, {**ranges, "pool": (0.0, 1.0)}).nodes}
    assert attrs["one"]["step"] == attrs["first"]["step"] == pytest.approx(5.1 / 255)
    assert attrs["two"]["step"] == attrs["second"]["step"] == pytest.approx(6 / 255)
    assert attrs["pool"]["step"] == attrs["second"]["step"]
    assert {attrs[name]["zero_point"] for name in ("one", "first", "two", "second")} == {0}
    assert attrs["image/rounded"]["zero_point"] == 127


def test_a_relu_beside_another_reader_cuts_by_itself():
    def define(b: Builder, x: Tensor) -> Tensor:
        y = b.pointwise("linear", x, 16)
        return b.add("sum", y, b.activation("act", y, "relu"))

    graph = draw(define)
    attrs = {
        n.name: n.attrs
        for n in quantize(
            graph, dict.fromkeys(("image", "linear", "act", "sum"), (-2.0, 2.0))
        ).nodes
    }
    assert (attrs["linear"]["zero_point"], attrs["act"]["zero_point"]) == (127, 0)
    params, images = random_params(graph), random_images(graph)
    expected = run_float(graph, params, images)["sum"]
    got = run_onnx(quantized(graph, params, images), params, images)
    np.testing.assert_allclose(got, expected, atol=0.15)


@pytest.mark.parametrize("limits", [(0.0, 0.0), (2.0, 3.0), (-3.0, -2.0), (-1e-30, 1e-30)])
def test_zero_is_exact_in_every_range(limits):
    graph = draw(lambda b, x: b.pointwise("one", x, 4))
    result = quantize(graph, dict.fromkeys(("image", "one"), limits))
    attrs = result.by_name["one"].attrs
    assert float(str(attrs["step"])) > 0
    assert 0 <= int(str(attrs["zero_point"])) <= 255
    params, images = random_params(graph), np.zeros((2, 8, 8, 16), np.float32)
    np.testing.assert_array_equal(run_onnx(result, params, images), 0.0)


def test_a_step_needs_a_zero_point():
    graph = draw(classifier)
    kind = {"image": graph.inputs["image"]}
    assert make_node("a", "relu", kind, {"step": 0.5, "zero_point": 0}).out.dtype == DType.UINT8
    with pytest.raises(GraphError, match="relu needs attributes"):
        make_node("a", "relu", kind, {"step": 0.5})


def test_weights_count_a_byte_and_biases_four():
    graph = draw(classifier)
    result = quantize(graph, dict.fromkeys(stored_in_8_bits(graph), (-1.0, 1.0)))
    weights = sum(node.params["weight"].size for node in graph.nodes if node.params)
    assert count(result).param_bytes == weights + 4 * (count(graph).params - weights)
    assert count(graph).param_bytes == 4 * count(graph).params
    assert count(result).macs == count(graph).macs
    floats = count(graph).activation_bytes - 4 * 10
    assert count(result).activation_bytes == floats // 4 + 4 * 10 + 8 * 8 * 16


# What the file computes


ONE_OP: dict[str, Define] = {
    "conv": lambda b, x: b.conv("op", x, 24, 3, 2, bias=True),
    "depthwise": lambda b, x: b.depthwise("op", x, 5, bias=True),
    "depthwise 7": lambda b, x: b.depthwise("op", x, 7, 2),
    "pointwise": lambda b, x: b.pointwise("op", x, 24, bias=True),
    "add": lambda b, x: b.add("op", x, b.pointwise("other", x, 16)),
    "mul": lambda b, x: b.node("op", "mul", (b.pointwise("other", x, 16), x)),
    "gate": lambda b, x: b.node(
        "op",
        "mul",
        (b.pointwise("y", x, 16), b.pointwise("g", b.node("mean", "global_pool", (x,)), 16)),
    ),
    "global_pool": lambda b, x: b.node("op", "global_pool", (b.pointwise("y", x, 8),)),
    "avg_pool": lambda b, x: b.node("op", "avg_pool", (b.pointwise("y", x, 8),), **WINDOW),
    "max_pool": lambda b, x: b.node("op", "max_pool", (b.pointwise("y", x, 8),), **WINDOW),
    "pad": lambda b, x: b.node(
        "op", "pad", (b.pointwise("y", x, 8),), top=1, bottom=0, left=2, right=1
    ),
    "hswish": lambda b, x: b.pointwise("op", b.activation("y", x, "hswish"), 8),
    "dense": lambda b, x: b.dense("op", b.node("flat", "reshape", (x,), shape=(1024,)), 10),
}


@pytest.mark.parametrize("name", ONE_OP)
def test_an_op_is_exact_up_to_rounding(name):
    """Every tensor is computed anew here from the rounded tensors before it."""
    graph = draw(ONE_OP[name])
    params, images = random_params(graph), random_images(graph)
    result = quantized(graph, params, images)
    values = {"image": images}
    for node in result.nodes:
        attrs = {k: v for k, v in node.attrs.items() if k not in STORED}
        kinds = {i: real(result, i) for i in node.inputs}
        alone = Graph(kinds, (make_node(node.name, node.op, kinds, attrs),), (node.name,))
        own = {node.name: rounded_params(result, node.name, params.get(node.name, {}))}
        inputs = {i: jnp.asarray(values[i]) for i in node.inputs}
        trees = {n: {k: jnp.asarray(v) for k, v in tree.items()} for n, tree in own.items()}
        (out,), _ = apply(alone, trees, inputs, stats={})
        values[node.name] = np.asarray(out)
        if node.out.dtype == DType.UINT8:
            values[node.name] = rounded(values[node.name], *steps(result, node.name))
    step = steps(result, "op")[0] if "step" in result.by_name["op"].attrs else 1e-4
    got = run_onnx(result, params, images)
    assert got.std() > 10 * step
    np.testing.assert_allclose(got, values["op"], rtol=0, atol=1.01 * step)
    assert np.mean(np.abs(got - values["op"]) < 0.01 * step) > 0.9


def real(graph: Graph, name: str) -> TensorType:
    return replace(graph.type_of(name), dtype=DType.FLOAT32)


def steps(graph: Graph, name: str) -> tuple[float, int]:
    attrs = graph.by_name[name].attrs
    return float(str(attrs["step"])), int(str(attrs["zero_point"]))


def rounded_params(graph: Graph, name: str, own: Arrays) -> Arrays:
    if not own:
        return own
    weight = own["weight"]
    of_weight = np.abs(weight).reshape(-1, weight.shape[-1]).max(0) / np.float32(127)
    out = {"weight": np.rint(weight / of_weight) * of_weight}
    if "bias" in own:
        of_bias = of_weight * np.float32(steps(graph, graph.by_name[name].inputs[0])[0])
        out["bias"] = np.rint(own["bias"] / of_bias) * of_bias
    return out


@pytest.mark.parametrize("activation", ["relu", "relu6", "hswish"])
@pytest.mark.parametrize("squeeze", [False, True])
def test_a_network_is_close_to_its_float_twin(activation, squeeze):
    graph = draw(lambda b, x: classifier(b, x, activation, squeeze))
    params, images = random_params(graph), random_images(graph, 64)
    expected = run_float(graph, params, images)["logits"]
    got = run_onnx(quantized(graph, params, images), params, images)
    assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_weights_are_signed_by_channel_and_activations_unsigned():
    graph = draw(classifier)
    params = random_params(graph)
    model = to_onnx(quantized(graph, params, random_images(graph)), params)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, features in {"stem": 16, "spatial": 32, "project": 16, "logits": 10}.items():
        weight = stored[f"{name}.weight.stored"]
        assert (weight.dtype, weight.shape[0]) == (np.int8, features)
        assert stored[f"{name}.weight.step"].shape == (features,)
        np.testing.assert_array_equal(np.abs(weight.reshape(features, -1)).max(1), 127)
        assert stored[f"{name}.bias.stored"].dtype == np.int32
    zero_points = {n: v for n, v in stored.items() if n.startswith("zero_point.")}
    assert {v.dtype for v in zero_points.values()} == {np.dtype(np.uint8)}


def test_dead_channels_and_large_biases_do_not_overflow():
    graph = draw(lambda b, x: b.pointwise("op", x, 3, bias=True))
    params, images = random_params(graph), random_images(graph)
    params["op"]["weight"][:, 0] = 0.0
    params["op"]["weight"][:, 1] *= 1e-12
    params["op"]["bias"][:] = [5.0, -7.0, 1.0]
    result = quantized(graph, params, images)
    got = run_onnx(result, params, images)
    expected = run_float(graph, params, images)["op"]
    np.testing.assert_allclose(got, expected, atol=2 * steps(result, "op")[0])


# What ONNX Runtime makes of it


def optimised(graph: Graph, tmp_path: Path) -> Counter[str]:
    params, images = random_params(graph), random_images(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimised file is for this machine only
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    data = to_bytes(to_onnx(quantized(graph, params, images), params))
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    model = onnx.load(options.optimized_model_filepath)
    return Counter(node.op_type for node in model.graph.node)


x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="other layouts, other fusions")


@x86
def test_a_relu_network_runs_in_integers_from_its_input_to_its_logits(tmp_path):
    kept = optimised(draw(lambda b, x: classifier(b, x, "relu", squeeze=True)), tmp_path)
    for free in ("Reshape", "Transpose"):
        kept.pop(free, None)
    assert kept == {
        "QuantizeLinear": 2,  # the image, and the gate
        "QLinearConv": 6,
        "QLinearGlobalAveragePool": 2,
        "DequantizeLinear": 1,
        "HardSigmoid": 1,
        "QLinearMul": 1,
        "QLinearAdd": 1,
        "QGemm": 1,
    }


SPACES: dict[str, dict] = {
    "keyword_spotting": {"width": (16, 32), "depth": (2,)},
    "mcunet": {"resolution": (16,), "classes": 4, "widths": (16,), "strides": (2,), "depth": (2,)},
    "mobilenet_v3": {
        "resolution": (32,),
        "classes": 10,
        "widths": (16, 24),
        "strides": (1, 2),
        "hswish": (False, False),
        "squeeze_excite": (False, False),
        "depth": (1, 2),
        "head": (32, 32),
    },
    "nasbench_macro": {"widths": (16, 24, 32), "head": 64},
    "resnet": {
        "resolution": (32,),
        "classes": 10,
        "widths": (64, 128),
        "strides": (1, 2),
        "base_depth": (1, 1),
        "depth": (0, 1),
        "expand": (0.25, 0.5),
    },
}


@x86
@pytest.mark.parametrize("name", SPACES)
def test_the_relu_spaces_convert_at_their_ends_only(name, tmp_path):
    space = create(name, **SPACES[name])
    graph = fold_batchnorm(space.build(space.largest()))
    kept = optimised(graph, tmp_path)
    # The stem of mobilenet_v3 and the two activations of its head are h-swish.
    floats = 3 if name == "mobilenet_v3" else 0
    assert kept["DequantizeLinear"] == floats
    assert kept["QuantizeLinear"] == 1 + floats
    assert kept["QLinearConv"] == sum(
        node.op in ("conv", "depthwise", "pointwise") for node in graph.nodes
    )
    assert not set(kept) & {"Conv", "Relu", "Clip", "Gemm", "Add", "AveragePool", "MaxPool"}
