"""ONNX = JAX, for random architectures of every space, from the network with its batch norms."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nas.data.config import DigitsConfig
from nas.data.registry import load
from nas.data.resize import resize
from nas.export.card import Network, Origin, Preprocessing
from nas.export.numerics import Samples, relative_error
from nas.export.onnx import export_onnx, runner
from search_spaces import registry
from search_spaces.ir.graph import Graph, Node
from search_spaces.ir.interpret import apply
from search_spaces.ir.passes import fold_batchnorm, fold_params
from search_spaces.ir.to_onnx import check, to_bytes, to_onnx
from search_spaces.space import SearchSpace

# Small forms of the spaces, so that an architecture compiles in a second; others as they are.
SMALL: dict[str, dict[str, Any]] = {
    "keyword_spotting": {"frames": 13, "mels": 10, "classes": 4, "width": (5, 8), "depth": (1, 2)},
    "mcunet": {
        "resolution": (9, 12),
        "channels": 1,
        "classes": 4,
        "widths": (16,),
        "strides": (2,),
        "depth": (1, 2),
        "width": (0.5, 1.0),
    },
    "mobilenet_v3": {
        "resolution": (9, 12),
        "channels": 1,
        "classes": 10,
        "stem_stride": 1,
        "widths": (16, 24),
        "strides": (1, 2),
        "hswish": (False, True),
        "squeeze_excite": (False, True),
        "depth": (1, 2),
        "head": (48, 64),
    },
    "nasbench_macro": {"resolution": (8, 9), "stem": 8, "widths": (8, 16, 24), "head": 32},
    "resnet": {
        "resolution": (18, 24),
        "channels": 1,
        "classes": 10,
        "widths": (32, 64),
        "strides": (1, 2),
        "base_depth": (1, 2),
        "depth": (0, 1),
        "expand": (0.25, 0.5),
        "width": (0.75, 1.0),
    },
}

NETWORKS = [name for name in registry.names() if registry.find(name).has_networks]

Tree = dict[str, dict[str, np.ndarray]]


def small(name: str) -> SearchSpace:
    return registry.create(name, **SMALL.get(name, {}))


def random_parameters(graph: Graph, seed: int) -> tuple[Tree, Tree]:
    """Parameters that keep activations near 1, and batch-norm statistics that are not trivial."""
    rng = np.random.default_rng(seed)

    def draw(node: Node) -> dict[str, np.ndarray]:
        return {
            name: rng.normal(float(spec.init == "ones"), spec.fan_in**-0.5, spec.shape).astype(
                np.float32
            )
            for name, spec in node.params.items()
        }

    def statistics(node: Node) -> dict[str, np.ndarray]:
        shape = node.params["scale"].shape
        mean, var = rng.normal(0, 0.3, shape), rng.uniform(0.2, 2, shape)
        return {"mean": mean.astype(np.float32), "var": var.astype(np.float32)}

    params = {node.name: draw(node) for node in graph.nodes if node.params}
    stats = {node.name: statistics(node) for node in graph.nodes if node.op == "batch_norm"}
    return params, stats


def in_jax(graph: Graph, params: Tree, stats: Tree) -> Callable[[np.ndarray], jax.Array]:
    params_on_device, stats_on_device = jax.tree.map(jnp.asarray, (params, stats))

    @jax.jit
    def run(images):
        return apply(graph, params_on_device, {"image": images}, stats=stats_on_device)[0][0]

    return lambda images: run(jnp.asarray(images))


@pytest.mark.parametrize("name", NETWORKS)
@settings(  # each example is a compilation: no shrinking
    max_examples=3,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**16))
def test_onnx_equals_jax_for_random_architectures(name, seed):
    space = small(name)
    graph = space.build(space.sample(np.random.default_rng(seed), 1)[0])
    params, stats = random_parameters(graph, seed)
    shape = graph.inputs["image"].shape
    images = np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)

    model = check(to_onnx(fold_batchnorm(graph), fold_params(graph, params, stats)))
    assert "Transpose" not in [node.op_type for node in model.graph.node]
    outputs = runner(to_bytes(model), "image")(images)
    expected = np.asarray(in_jax(graph, params, stats)(images))
    assert np.abs(expected).max() > 1e-3
    assert relative_error(outputs, expected) <= 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_every_architecture_of_a_space_is_exported_whatever_its_size(name):
    space = small(name)
    for arch in (space.smallest(), space.largest()):
        graph = fold_batchnorm(space.build(arch))
        model = check(to_onnx(graph, random_parameters(graph, 0)[0]))
        assert {node.name for node in graph.nodes} <= {node.name for node in model.graph.node}


def test_a_network_on_real_images_is_exported_with_its_card(tmp_path):
    dataset = load(DigitsConfig(type="digits"), seed=0)
    space = small("mobilenet_v3")
    arch = space.sample(np.random.default_rng(0), 1)[0]
    graph = space.build(arch)
    height, width, _ = graph.inputs["image"].shape
    params, stats = random_parameters(graph, 3)
    pixels = jnp.asarray(dataset.validation.images[:16], jnp.float32) / 255.0
    pixels = (pixels - dataset.mean[None, None, None, :]) / dataset.std[None, None, None, :]
    images = np.asarray(resize(pixels, (height, width)))

    network = Network(
        fold_batchnorm(graph),
        fold_params(graph, params, stats),
        Origin.of(space, arch, seed=0),
        Preprocessing(tuple(dataset.mean.tolist()), tuple(dataset.std.tolist())),
        dataset.classes,
    )
    labelled = [(images, dataset.validation.labels[:16])]
    samples = Samples(images, calibration=lambda: [images], test=lambda: labelled)
    report = export_onnx(
        network, tmp_path / "out", samples=samples, reference=in_jax(graph, params, stats)
    )
    assert report.numerics.n_images == 16
    card = json.loads(report.card.read_text())
    assert card["input"]["preprocessing"]["resize"]["height"] == height
    assert len(card["output"]["classes"]) == 10
