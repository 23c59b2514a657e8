"""The exports for microcontrollers: files, checks, cards, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hw_profiles.mcu import codegen
from hw_profiles.weights import random_params
from nas.export.card import Network, Origin, Preprocessing
from nas.export.numerics import Samples
from nas.export.registry import exporter
from search_spaces.errors import RunError
from search_spaces.ir.builder import Builder
from search_spaces.ir.interpret import apply
from search_spaces.ir.patches import Patches
from search_spaces.registry import create

_RNG = np.random.default_rng(1)
IMAGES = (_RNG.normal(size=(200, 8, 6, 2)) + _RNG.normal(size=(200, 1, 1, 2))).astype(np.float32)
FORMATS = ("c", "tflite")


@pytest.fixture(scope="module")
def network() -> Network:
    space = create("mobilenet_v3", resolution=(32,), classes=3)
    b = Builder((), {})
    x = b.conv("conv", b.input("image", (8, 6, 2)), 16, 3, bias=True)
    x = b.add("sum", x, b.pointwise("mix", b.activation("act", x, "hswish"), 16, bias=True))
    x = b.node("pool", "global_pool", (b.activation("last", x, "relu"),))
    graph = b.graph(b.dense("logits", b.node("flat", "reshape", (x,), shape=(16,)), 3))
    params = random_params(graph, np.random.default_rng(0))
    trees = {n: {k: jnp.asarray(v) for k, v in own.items()} for n, own in params.items()}
    (logits,), _ = apply(graph, trees, {"image": jnp.asarray(IMAGES)}, stats={})
    params["logits"]["bias"] -= np.asarray(logits).mean(0)  # else all images are of one class
    origin = Origin.of(space, space.largest(), seed=7)
    seen = Preprocessing((0.0, 0.0), (1.0, 1.0))
    return Network(graph, params, origin, seen, ("a", "b", "c"))


@pytest.fixture(scope="module")
def reference(network) -> Callable[[Any], Any]:
    params = {n: {k: jnp.asarray(v) for k, v in own.items()} for n, own in network.params.items()}
    return jax.jit(lambda x: apply(network.graph, params, {"image": x}, stats={})[0][0])


@pytest.fixture(scope="module")
def samples(reference) -> Samples:
    labels = np.asarray(reference(IMAGES)).argmax(1)
    test = [(IMAGES[100:150], labels[100:150]), (IMAGES[150:], labels[150:])]
    return Samples(IMAGES[:8], calibration=lambda: [IMAGES[:50], IMAGES[50:100]], test=lambda: test)


@pytest.mark.parametrize("target", FORMATS)
def test_an_export_passes_its_checks_and_tells_its_arena(
    target, network, samples, reference, tmp_path
):
    pytest.importorskip("tflite_micro")
    report = exporter(target)(network, tmp_path / "out", samples=samples, reference=reference)
    assert report.accuracy.value > 0.95
    assert report.accuracy.reference == 1.0
    assert 1e-4 < report.numerics.max_relative_error < 0.15
    card = json.loads(report.card.read_text())
    assert card["input"]["dtype"] == "int8"
    assert card["input"]["shape"] == ["batch", 8, 6, 2]
    # The convolution and its h-swish, over which what is added runs: 8 x 6 x 16 bytes each.
    assert 2 * 768 <= card["model"]["arena_bytes"] <= 2 * 768 + 128
    if target == "tflite":
        assert card["model"]["tensorflow_lite_micro_arena_bytes"] > card["model"]["arena_bytes"]
    else:
        assert (tmp_path / "out" / "kernels" / "pointwise.c").exists()
        assert card["model"]["checked_on"] == "cortex_m7, emulated"


def test_c_runs_in_the_patches_that_the_graph_asks_for(network, samples, reference, tmp_path):
    pytest.importorskip("unicorn")
    graph = replace(network.graph, patches=Patches(2, "sum"))
    cut = replace(network, graph=graph)
    report = exporter("c")(cut, tmp_path / "out", samples=samples, reference=reference)
    model = json.loads(report.card.read_text())["model"]
    assert model["patches"] == 2
    assert model["checked_on"] == "cortex_m7, emulated"
    code = (tmp_path / "out" / "model.c").read_text()
    assert "conv/patch_1_1" in code
    # The map itself, and of what made it a quarter and the windows' borders.
    assert 768 < model["arena_bytes"] < 1536


def test_machine_code_that_makes_other_bytes_is_not_exported(
    network, samples, reference, tmp_path, monkeypatch
):
    pytest.importorskip("unicorn")
    right = codegen.generate

    def wrong(layers, example, **options):
        made = right(layers, example, **options)
        text = made.files["model.c"].replace(b"hwnas_global_pool(", b"if (0) hwnas_global_pool(")
        return replace(made, files={**made.files, "model.c": text})

    monkeypatch.setattr("nas.export.c.generate", wrong)
    with pytest.raises(RunError, match="bytes of the output differ on an emulated cortex_m7"):
        exporter("c")(network, tmp_path / "out", samples=samples, reference=reference)
    assert not (tmp_path / "out").exists()
