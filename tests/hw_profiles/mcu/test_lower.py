"""Whole networks in int8: close to their float twin, and equal however they are run."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from hw_profiles.mcu.batched import runner
from hw_profiles.mcu.lower import Int8Network, lower
from hw_profiles.weights import random_params
from nas.calibration import calibrated
from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Tensor
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import apply
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.ir.quantize import quantize_for_timing
from search_spaces.space import SearchSpace


def random_network(space: SearchSpace, seed: int) -> tuple[Graph, dict, Int8Network, np.ndarray]:
    """The float graph of a random architecture, its parameters, the int8 network, images."""
    rng = np.random.default_rng(seed)
    arch = space.canonical(rng.integers(0, space.cardinality, (1, len(space.knobs))))[0]
    graph = fold_batchnorm(space.build(arch))
    params = random_params(graph, np.random.default_rng(seed))
    (kind,) = graph.inputs.values()
    images = rng.normal(size=(8, *kind.shape)).astype(np.float32)
    return graph, params, lower(calibrated(graph, params, [images], whole=True), params), images


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("mobilenet_v3", 0),
        pytest.param("resnet", 0, marks=pytest.mark.slow),
        pytest.param("nasbench_macro", 0, marks=pytest.mark.slow),
    ],
)
def test_a_network_is_close_to_its_float_twin_and_equal_in_batches(
    small_space: Callable[[str], SearchSpace], name: str, seed: int
) -> None:
    graph, params, network, images = random_network(small_space(name), seed)
    trees = {n: {k: jnp.asarray(v) for k, v in own.items()} for n, own in params.items()}
    (expected,), _ = apply(graph, trees, {"image": jnp.asarray(images)}, stats={})
    rounded = network.rounded(images)
    one_by_one = np.stack([network.reference(x)[network.outputs[0]] for x in rounded])
    np.testing.assert_array_equal(runner(network)(rounded), one_by_one)
    kind = network.quantization[network.outputs[0]]
    found = (one_by_one.astype(float) - kind.zero_point) * kind.scale
    error = np.sqrt(np.mean((found - np.asarray(expected)) ** 2))
    assert error < 0.15 * np.std(np.asarray(expected))


def _draw_all(b: Builder) -> Tensor:
    """Ops that no space draws, or not at these sizes."""
    x = b.input("image", (9, 7, 3))
    x = b.activation("gelu", b.conv("conv", x, 1100, 1, 2, bias=True), "gelu")
    x = b.node("max", "max_pool", (x,), kernel=3, stride=2, padding=1)
    x = b.activation("sigmoid", b.pointwise("narrow", x, 5), "sigmoid")
    x = b.node("average", "avg_pool", (x,), kernel=2, stride=1, padding=1)
    y = b.activation("relu", b.depthwise("filter", x, 5), "relu")
    x = b.add("twice", b.activation("relu6", b.add("add", x, y), "relu6"), x)
    x = b.node("flat", "reshape", (x,), shape=(b.shape(x)[0] * b.shape(x)[1] * 5,))
    return b.node("softmax", "softmax", (b.dense("dense", x, 4),))


def test_every_op_is_equal_in_batches() -> None:
    b = Builder((), {})
    graph = b.graph(_draw_all(b))
    params = random_params(graph, np.random.default_rng(0))
    images = np.random.default_rng(0).normal(size=(3, 9, 7, 3)).astype(np.float32)
    network = lower(calibrated(graph, params, [images], whole=True), params)
    rounded = network.rounded(images)
    one_by_one = np.stack([network.reference(x)["softmax"] for x in rounded])
    np.testing.assert_array_equal(runner(network)(rounded), one_by_one)
    assert len(np.unique(one_by_one)) > 4


def test_what_no_kernel_computes_is_refused_by_name() -> None:
    b = Builder((), {})
    x = b.node("edge", "pad", (b.input("image", (4, 4, 2)),), top=1, bottom=0, left=0, right=0)
    graph = quantize_for_timing(b.graph(b.pointwise("mix", x, 3)), whole=True)
    with pytest.raises(InputError, match="edge: no C kernel computes 'pad'; there are: add, "):
        lower(graph, random_params(graph, np.random.default_rng(0)))
    b = Builder((), {})
    graph = quantize_for_timing(b.graph(b.dense("dense", b.input("x", (4,)), 3)))
    with pytest.raises(InputError, match="dense: is in float32"):
        lower(graph, random_params(graph, np.random.default_rng(0)))


def test_a_bias_too_large_for_its_steps_saturates() -> None:
    b = Builder((), {})
    graph = b.graph(b.dense("dense", b.input("x", (4,)), 2))
    weight = np.array([[1e-7, 1.0]] * 4, np.float32)
    params = {"dense": {"weight": weight, "bias": np.array([50.0, 0.0], np.float32)}}
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    network = lower(calibrated(graph, params, [x], whole=True), params)
    made = np.stack([network.reference(row)["dense"] for row in network.rounded(x[:, None, None])])
    kind = network.quantization["dense"]
    found = (made[:, 0].astype(float) - kind.zero_point) * kind.scale
    np.testing.assert_allclose(found, 50.0, rtol=0.01)
