"""The file in LiteRT and in TensorFlow Lite Micro: the bytes of our reference."""

from collections.abc import Callable

import numpy as np
import pytest

from hw_profiles.mcu.lower import Int8Network, lower
from hw_profiles.mcu.memory import unweighted
from hw_profiles.mcu.tflite import to_tflite
from hw_profiles.weights import random_params
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder
from search_spaces.ir.quantize import quantize, quantize_for_timing, stored_in_8_bits
from search_spaces.space import SearchSpace

pytest.importorskip("ai_edge_litert")
pytest.importorskip("tflite_micro")


def check(network: Int8Network, seed: int = 0) -> None:
    from nas.export.tflite import run_litert, run_micro

    rng = np.random.default_rng(seed)
    images = rng.integers(-128, 128, (2, *network.shapes[network.inputs[0]]), np.int8)
    expected = [network.reference(image)[network.outputs[0]].ravel() for image in images]
    assert len(np.unique(expected)) > 1
    data = to_tflite(network)
    np.testing.assert_array_equal(run_litert(data, images), expected)
    made, arena_bytes = run_micro(data, images)
    np.testing.assert_array_equal(made, expected)
    assert arena_bytes > 0


@pytest.mark.parametrize("name", ["mobilenet_v3", "resnet", "nasbench_macro"])
def test_random_networks_run_as_our_reference(
    small_space: Callable[[str], SearchSpace], name: str
) -> None:
    space = small_space(name)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        arch = space.canonical(rng.integers(0, space.cardinality, (1, len(space.knobs))))[0]
        check(unweighted(space.build(arch)), seed)


def test_ops_that_no_space_draws_run_as_our_reference() -> None:
    b = Builder((), {})
    x = b.input("image", (9, 7, 3))
    x = b.activation("gelu", b.conv("conv", x, 6, 1, 2, bias=True), "gelu")
    x = b.node("max", "max_pool", (x,), kernel=3, stride=2, padding=1)
    x = b.activation("sigmoid", b.pointwise("narrow", x, 5), "sigmoid")
    x = b.node("average", "avg_pool", (x,), kernel=2, stride=1, padding=0)
    y = b.activation("relu", b.depthwise("filter", x, 3), "relu")
    x = b.add("twice", b.activation("relu6", b.add("add", x, y), "relu6"), x)
    x = b.node("flat", "reshape", (x,), shape=(int(np.prod(b.shape(x))),))
    graph = b.graph(b.node("softmax", "softmax", (b.dense("dense", x, 4),)))
    quantized = quantize_for_timing(graph, whole=True)
    check(lower(quantized, random_params(quantized, np.random.default_rng(0))))


def test_many_outputs_of_dense_layers_are_equal() -> None:
    b = Builder((), {})
    x = b.node("flat", "reshape", (b.input("image", (3, 2, 8)),), shape=(48,))
    graph = b.graph(b.dense("second", b.dense("first", x, 150), 400))
    rng = np.random.default_rng(0)
    for seed in range(4):
        ranges = {
            name: (-float(rng.uniform(0.5, 4)), float(rng.uniform(0.5, 4)))
            for name in stored_in_8_bits(graph, whole=True)
        }
        check(
            lower(
                quantize(graph, ranges, whole=True),
                random_params(graph, np.random.default_rng(seed)),
            ),
            seed,
        )


def test_a_pool_that_tensorflow_lite_lacks_is_refused_by_name() -> None:
    b = Builder((), {})
    x = b.node("pool", "avg_pool", (b.input("x", (7, 7, 2)),), kernel=2, stride=2, padding=1)
    with pytest.raises(InputError, match="pool: TensorFlow Lite has no average pool that leaves"):
        to_tflite(unweighted(b.graph(x)))
