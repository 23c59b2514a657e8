import jax.numpy as jnp
import numpy as np
import pytest

from nas.calibration import activation_ranges, calibrated
from search_spaces.ir.builder import Builder
from search_spaces.ir.graph import Graph
from search_spaces.ir.quantize import stored_in_8_bits


@pytest.fixture(scope="module")
def graph() -> Graph:
    b = Builder((), {})
    x = b.conv("conv", b.input("image", (6, 6, 2)), 4, 3, bias=True)
    x = b.node("pool", "global_pool", (b.activation("act", x, "relu"),))
    return b.graph(b.dense("logits", b.node("flat", "reshape", (x,), shape=(4,)), 3))


@pytest.fixture(scope="module")
def params(graph) -> dict:
    rng = np.random.default_rng(0)
    return {
        node.name: {k: rng.normal(size=s.shape).astype(np.float32) for k, s in node.params.items()}
        for node in graph.nodes
        if node.params
    }


@pytest.fixture(scope="module")
def batches() -> list[np.ndarray]:
    return [*np.random.default_rng(1).normal(size=(3, 8, 6, 6, 2)).astype(np.float32)]


def test_every_stored_tensor_has_a_range(graph, params, batches):
    ranges = activation_ranges(graph, params, batches)
    assert set(ranges) == set(stored_in_8_bits(graph))
    images = np.concatenate(batches)
    assert ranges["image"] == (images.min(), images.max())
    low, high = ranges["conv"]
    assert ranges["act"] == (0.0, high)
    assert low < 0.0 < ranges["pool"][1] < high


def test_it_is_the_same_for_any_order_of_the_batches(graph, params, batches):
    first = activation_ranges(graph, params, batches)
    assert activation_ranges(graph, params, batches[::-1]) == first
    jax_params = {n: {k: jnp.asarray(v) for k, v in own.items()} for n, own in params.items()}
    assert activation_ranges(graph, jax_params, iter(batches)) == first


def test_the_steps_cover_the_images(graph, params, batches):
    ranges = activation_ranges(graph, params, batches)
    attrs = calibrated(graph, params, batches).by_name["conv"].attrs
    assert attrs["zero_point"] == 0
    assert attrs["step"] == pytest.approx(ranges["act"][1] / 255)
