"""The export in 8 bits: what the file computes, what the card says, and when it is refused."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from nas.export.card import Network, Origin, Preprocessing
from nas.export.numerics import Samples
from nas.export.onnx_int8 import export_onnx_int8
from search_spaces.errors import RunError
from search_spaces.ir.builder import Builder
from search_spaces.ir.interpret import apply
from search_spaces.registry import create

# Of different colours, so that the networks tell them apart.
_RNG = np.random.default_rng(1)
IMAGES = (_RNG.normal(size=(200, 8, 6, 2)) + _RNG.normal(size=(200, 1, 1, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    space = create("mobilenet_v3", resolution=(32,), classes=3)
    b = Builder((), {})
    x = b.conv("conv", b.input("image", (8, 6, 2)), 16, 3, bias=True)
    x = b.add("sum", x, b.pointwise("mix", b.activation("act", x, "hswish"), 16, bias=True))
    x = b.node("pool", "global_pool", (b.activation("last", x, "relu"),))
    graph = b.graph(b.dense("logits", b.node("flat", "reshape", (x,), shape=(16,)), 3))
    rng = np.random.default_rng(0)
    params = {
        node.name: {
            name: rng.normal(0, spec.fan_in**-0.5, spec.shape).astype(np.float32)
            for name, spec in node.params.items()
        }
        for node in graph.nodes
        if node.params
    }
    trees = {n: {k: jnp.asarray(v) for k, v in own.items()} for n, own in params.items()}
    (logits,), _ = apply(graph, trees, {"image": jnp.asarray(IMAGES)}, stats={})
    params["logits"]["bias"] -= np.asarray(logits).mean(0)  # else all images are of one class
    origin = Origin.of(space, space.largest(), seed=7)
    figures = {"cpu": {"value_ms": 1.0, "dtype": "int8", "float32": {"value_ms": 2.0}}}
    return Network(
        graph, params, origin, Preprocessing((0.0, 0.0), (1.0, 1.0)), ("a", "b", "c"), (), figures
    )


@pytest.fixture(scope="module")
def reference(network) -> Any:
    params = {n: {k: jnp.asarray(v) for k, v in own.items()} for n, own in network.params.items()}

    @jax.jit
    def run(images):
        (logits,), _ = apply(network.graph, params, {"image": images}, stats={})
        return logits

    return run


@pytest.fixture(scope="module")
def samples(reference) -> Samples:
    images = IMAGES
    labels = np.asarray(reference(images)).argmax(1)
    assert np.bincount(labels, minlength=3).max() < 150
    test = [(images[100:150], labels[100:150]), (images[150:], labels[150:])]
    return Samples(images[:8], calibration=lambda: [images[:50], images[50:100]], test=lambda: test)


@pytest.fixture(scope="module")
def exported(network, samples, reference, tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("run") / "out"
    return export_onnx_int8(network, folder, samples=samples, reference=reference)


def test_it_guesses_as_the_float_network_does(exported):
    assert exported.target == "onnx-int8"
    assert exported.accuracy.reference == 1.0
    assert exported.accuracy.value == exported.accuracy.agreement > 0.95
    assert 1e-4 < exported.numerics.max_relative_error < 0.1


def test_the_file_takes_and_gives_float_in_any_batch(exported, samples, reference):
    session = onnxruntime.InferenceSession(exported.model, providers=["CPUExecutionProvider"])
    assert [item.type for item in (*session.get_inputs(), *session.get_outputs())] == [
        "tensor(float)"
    ] * 2
    expected = np.asarray(reference(samples.images))
    for n in (1, 5):
        feed = {"image": samples.images[:n].transpose(0, 3, 1, 2)}
        outputs = np.asarray(session.run(["logits"], feed)[0])
        np.testing.assert_allclose(outputs, expected[:n], atol=0.1 * np.abs(expected).max())
    types = [node.op_type for node in onnx.load(exported.model).graph.node]
    assert types.count("QuantizeLinear") == 7  # image, conv, act, mix, sum with last, pool, flat


def test_the_card_says_what_it_is(exported, network):
    card = json.loads(exported.card.read_text())
    assert card["test_accuracy"]["n_images"] == 100
    assert card["latency"]["cpu"]["float32"] == {"value_ms": 2.0}
    assert card["input"]["dtype"] == "float32"
    assert card["graph_digest"] != network.graph.digest()
    weights = sum(node.params["weight"].size for node in network.graph.nodes if node.params)
    assert weights < card["cost"]["param_bytes"] < 2 * weights
    assert card["cost"]["params"] > weights


def test_equal_networks_and_images_give_equal_files(
    exported, network, samples, reference, tmp_path
):
    again = export_onnx_int8(network, tmp_path / "a", samples=samples, reference=reference)
    assert again.model.read_bytes() == exported.model.read_bytes()


def test_steps_that_suit_other_images_are_found_out(network, samples, reference, tmp_path):
    dark = Samples(samples.images, lambda: [samples.images * np.float32(1e-3)], samples.test)
    with pytest.raises(RunError, match=r"differ by|test images right"):
        export_onnx_int8(network, tmp_path / "a", samples=dark, reference=reference)
    assert list(tmp_path.iterdir()) == []
