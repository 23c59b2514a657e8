"""The whole export: file, card, comparison with JAX, and what is left behind when it fails."""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from nas.export import onnx as onnx_export
from nas.export.card import Metric, Network, Origin, Preprocessing
from nas.export.numerics import Samples
from nas.export.onnx import export_onnx
from search_spaces.errors import InputError, RunError
from search_spaces.ir.builder import Builder
from search_spaces.registry import create

LATENCY = {
    "value_us": 812.5,
    "spread_us": 4.0,
    "n": 50,
    "source": "measured",
    "provenance": {"host": "lab", "cpu": "Zen 5", "threads": 1},
}


@pytest.fixture(scope="module")
def network() -> Network:
    space = create("mobilenet_v3", resolution=(32,), classes=3)
    b = Builder((), {})
    x = b.conv("conv", b.input("image", (8, 6, 2)), 5, 3, bias=True)
    x = b.node("pool", "global_pool", (b.activation("act", x, "relu"),))
    graph = b.graph(b.dense("logits", b.node("flat", "reshape", (x,), shape=(5,)), 3))
    rng = np.random.default_rng(0)
    params = {
        node.name: {k: rng.normal(size=s.shape).astype(np.float32) for k, s in node.params.items()}
        for node in graph.nodes
        if node.params
    }
    origin = Origin.of(space, space.largest(), seed=7, tables={"cpu": "abc123"})
    metrics = (
        Metric("test_accuracy", 0.91, "measured"),
        Metric("latency_ms@cpu", 0.8, "interpolated", 0.02),
    )
    preprocessing = Preprocessing((0.25, 0.5), (0.125, 1.0), {"type": "npz", "height": 9})
    return Network(graph, params, origin, preprocessing, ("a", "b", "c"), metrics, {"cpu": LATENCY})


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5, 8, 6, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def samples(images) -> Samples:
    labels = np.array([0, 2, 1, 0, 2])
    batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]
    return Samples(images, calibration=lambda: [images], test=lambda: batches)


@pytest.fixture(scope="module")
def reference(network) -> Callable[[np.ndarray], jax.Array]:
    params = network.params

    @jax.jit
    def run(images):
        x = jax.lax.conv_general_dilated(
            images,
            params["conv"]["weight"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + params["conv"]["bias"][None, None, None, :]).mean((1, 2))
        return x @ params["logits"]["weight"] + params["logits"]["bias"][None, :]

    return run


@pytest.fixture(scope="module")
def exported(network, samples, reference, tmp_path_factory) -> Any:
    folder = tmp_path_factory.mktemp("run") / "exports" / "42"
    return export_onnx(network, folder, samples=samples, reference=reference)


def nothing_in(folder: Path) -> bool:
    return list(folder.iterdir()) == []


def test_the_report_tells_what_was_written_and_that_it_agrees(exported):
    assert {path.name for path in exported.folder.iterdir()} == {"model.onnx", "card.json"}
    assert exported.model_bytes == exported.model.stat().st_size
    assert 0 < exported.numerics.max_relative_error < 1e-5
    assert exported.numerics.tolerance == 1e-4
    assert (exported.numerics.n_images, exported.numerics.batches) == (5, (5, 1))
    accuracy = exported.accuracy
    assert (accuracy.n_images, accuracy.agreement) == (5, 1.0)
    assert accuracy.value == accuracy.reference
    assert exported.latency == {"cpu": LATENCY}
    assert [path.name for path in exported.folder.parent.iterdir()] == ["42"]


def test_the_file_computes_what_jax_computes_in_any_batch(exported, images, reference):
    session = onnxruntime.InferenceSession(exported.model, providers=["CPUExecutionProvider"])
    for n in (1, 3, 5):
        feed = {"image": images[:n].transpose(0, 3, 1, 2)}
        outputs = np.asarray(session.run(["logits"], feed)[0])
        np.testing.assert_allclose(outputs, reference(images[:n]), rtol=1e-4, atol=1e-5)


def test_the_file_carries_its_origin(exported, network):
    model = onnx.load(exported.model)
    found = {item.key: item.value for item in model.metadata_props}
    assert model.producer_name == "hwnas"
    assert found["producer"].startswith("hwnas ")
    assert found["graph_digest"] == network.graph.digest()
    assert json.loads(found["arch"]) == list(network.origin.arch)
    assert json.loads(found["choices"]) == network.origin.choices
    assert json.loads(found["seed"]) == 7
    assert json.loads(found["table_digests"]) == {"cpu": "abc123"}
    assert json.loads(found["space"])["name"] == "mobilenet_v3"
    assert json.loads(found["classes"]) == ["a", "b", "c"]
    assert json.loads(found["preprocessing"]) == {
        "data": {"type": "npz", "height": 9},
        "resize": {"height": 8, "width": 6, "method": "antialiased bilinear"},
        "divide_by": 255,
        "mean": [0.25, 0.5],
        "std": [0.125, 1.0],
    }


def test_the_arch_in_the_file_builds_the_same_choices(exported):
    found = {item.key: item.value for item in onnx.load(exported.model).metadata_props}
    written = json.loads(found["space"])
    space = create(written["name"], **written["parameters"])
    assert space.version == written["version"]
    assert space.decode(np.array(json.loads(found["arch"]))) == json.loads(found["choices"])


def test_the_card_tells_everything_and_where_it_is_from(exported, network):
    card = json.loads(exported.card.read_text())
    data = exported.model.read_bytes()
    assert card["model"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert card["model"]["bytes"] == len(data)
    assert card["architecture"]["vector"] == list(network.origin.arch)
    assert card["architecture"]["choices"] == network.origin.choices
    assert card["input"]["shape"] == ["batch", 2, 8, 6]
    assert card["input"]["layout"] == "NCHW"
    assert card["input"]["preprocessing"]["mean"] == [0.25, 0.5]
    assert card["output"] == {"name": "logits", "classes": ["a", "b", "c"]}
    assert card["cost"]["macs"] == 8 * 6 * 9 * 2 * 5 + 5 * 3
    assert card["cost"]["params"] == 9 * 2 * 5 + 5 + 5 * 3 + 3
    assert card["cost"]["param_bytes"] == 4 * card["cost"]["params"]
    assert card["metrics"][1] == {
        "name": "latency_ms@cpu",
        "value": 0.8,
        "source": "interpolated",
        "spread": 0.02,
    }
    assert card["latency"] == {"cpu": LATENCY}
    assert card["numerics"]["max_relative_error"] == exported.numerics.max_relative_error
    assert card["test_accuracy"] == asdict(exported.accuracy)
    assert card["numerics"]["runtime"].startswith("ONNX Runtime ")
    assert set(card["versions"]) == {"hwnas", "python", "jax", "numpy", "onnx", "onnxruntime"}


def test_equal_networks_give_equal_files(exported, network, samples, reference, tmp_path):
    again = export_onnx(network, tmp_path / "again", samples=samples, reference=reference)
    assert again.model.read_bytes() == exported.model.read_bytes()


# Failures: one clear error, nothing left behind


def test_a_file_that_differs_is_not_exported(network, samples, reference, tmp_path):
    def wrong(x):
        return reference(x) * jnp.float32(1.001)

    with pytest.raises(RunError, match=r"differ by 0\.001.*5 images\), more than 0\.0001"):
        export_onnx(network, tmp_path / "a", samples=samples, reference=wrong)
    assert nothing_in(tmp_path)


def test_one_wrong_image_among_many_is_found(network, samples, reference, tmp_path):
    def wrong(x):
        return reference(x).at[3, 1].add(jnp.float32(0.01))

    with pytest.raises(RunError, match="differ by"):
        export_onnx(network, tmp_path / "a", samples=samples, reference=wrong)
    assert nothing_in(tmp_path)


def test_outputs_that_are_not_numbers_are_not_exported(network, samples, reference, tmp_path):
    params = {**network.params, "logits": {**network.params["logits"]}}
    params["logits"]["bias"] = np.array([0, np.nan, 0], np.float32)
    with pytest.raises(RunError, match="differ by inf"):
        export_onnx(
            replace(network, params=params), tmp_path / "a", samples=samples, reference=reference
        )
    assert nothing_in(tmp_path)


def test_an_error_that_only_single_images_show_is_found(
    network, samples, reference, tmp_path, monkeypatch
):
    runner = onnx_export.runner

    def broken(*arguments):
        run = runner(*arguments)
        return lambda batch: run(batch) * (2 if len(batch) == 1 else 1)

    monkeypatch.setattr(onnx_export, "runner", broken)
    with pytest.raises(RunError, match="batches of 1"):
        export_onnx(network, tmp_path / "a", samples=samples, reference=reference)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_full_disk_leaves_nothing(network, samples, reference, tmp_path, monkeypatch, call):
    calls = iter(range(1, 10))
    fsync = os.fsync

    def full(descriptor):
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a: no space left: ") as caught:
        export_onnx(network, tmp_path / "a", samples=samples, reference=reference)
    assert len(caught.value.problems) == 1
    assert nothing_in(tmp_path)


def test_an_interrupt_leaves_nothing(network, samples, reference, tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(network, tmp_path / "a", samples=samples, reference=reference)
    assert nothing_in(tmp_path)


def test_nothing_is_overwritten(network, samples, reference, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"a: exists already; remove it or choose another .* -o"):
        export_onnx(network, tmp_path / "a", samples=samples, reference=reference)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes.txt"]


def test_images_of_another_resolution_are_refused(network, samples, reference, tmp_path):
    with pytest.raises(RunError, match=r"2 or more images of \(8, 6, 2\), got \(5, 6, 6, 2\)"):
        export_onnx(
            network,
            tmp_path / "a",
            samples=replace(samples, images=samples.images[:, :6]),
            reference=reference,
        )
    with pytest.raises(RunError, match="2 or more images"):
        export_onnx(
            network,
            tmp_path / "a",
            samples=replace(samples, images=samples.images[:1]),
            reference=reference,
        )


def test_class_names_must_match_the_outputs(network, samples, reference, tmp_path):
    with pytest.raises(RunError, match="2 class names for outputs of shape"):
        export_onnx(
            replace(network, classes=("a", "b")),
            tmp_path / "a",
            samples=samples,
            reference=reference,
        )


def test_a_file_that_guesses_worse_is_not_exported(network, samples, reference, tmp_path):
    """All other checks see the few compared images only, here another set than the test's."""
    images = samples.images + np.float32(1.0)
    right = np.asarray(reference(images)).argmax(1)

    def wrong(x):
        # Another best class where the first image of the test set is among those asked for.
        moved = jnp.float32(100.0) * jax.nn.one_hot(jnp.asarray((right + 1) % 3), 3)
        return moved if x.shape == images.shape and (x == images).all() else reference(x)

    labels = (right + 1) % 3
    moved = replace(samples, test=lambda: [(images, labels)])
    with pytest.raises(RunError, match=r"gets 0\.00% of 5 test images right, .* 100\.00%"):
        export_onnx(network, tmp_path / "a", samples=moved, reference=wrong)
    assert nothing_in(tmp_path)
