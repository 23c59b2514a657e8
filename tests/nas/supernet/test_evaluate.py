import jax
import numpy as np
import pytest

from kernels.inventory import in_use
from kernels.pointwise_conv.api import OPERATION
from nas.data.config import DigitsConfig
from nas.data.registry import load
from nas.supernet.evaluate import SupernetEvaluator
from nas.supernet.executors import Executors, input_size
from nas.supernet.switch import Switched
from search_spaces.ir.interpret import init
from search_spaces.registry import create

CALIBRATION = 512


@pytest.fixture(scope="module")
def executors():
    return Executors(
        create(
            "mobilenet_v3",
            resolution=(6, 8),
            channels=1,
            classes=10,
            stem=8,
            stem_stride=1,
            widths=(8, 16),
            strides=(1, 2),
            hswish=(False, True),
            squeeze_excite=(False, True),
            depth=(1, 2),
            kernel=(3, 5),
            expand=(2, 3),
            head=(16, 24),
        )
    )


@pytest.fixture(scope="module")
def params(executors):
    return init(executors.space.build(None), jax.random.key(3))


@pytest.fixture(scope="module")
def data():
    return load(DigitsConfig(type="digits"), seed=0)


@pytest.fixture(scope="module")
def archs(executors):
    return executors.space.sample(np.random.default_rng(0), 3)


@pytest.fixture(scope="module")
def expected(executors, params, data, archs):
    """The definition: the concrete networks, their own statistics, their own classes."""
    evaluator = SupernetEvaluator(executors, params, data, CALIBRATION, None)

    def judged(arch):
        graph = executors.space.build(arch)
        images = evaluator.prepare(data.validation.images, input_size(graph))
        stats = evaluator.calibrate(graph)
        logits, _ = executors.sliced(params, graph, images, stats)
        return float(np.mean(np.argmax(logits, -1) == data.validation.labels)), stats

    return [judged(arch) for arch in archs]


@pytest.mark.parametrize(
    ("executor", "at_once"), [("masked", False), ("masked", True), ("switch", False)]
)
def test_accuracies_are_those_of_the_concrete_networks(
    executors, params, data, archs, expected, executor, at_once
):
    evaluator = SupernetEvaluator(executors, params, data, CALIBRATION, None, at_once=at_once)
    evaluator.elastic = getattr(executors, executor)
    found = evaluator.accuracies(archs, data.validation)
    accuracies = [accuracy for accuracy, _ in expected]
    # Another order of sums may turn an image on the border between two classes.
    assert np.abs(found - accuracies).max() <= 1.5 / len(data.validation.labels)
    assert len(set(np.round(accuracies, 4))) > 1
    for arch, (_, stats) in zip(archs, expected, strict=True):
        own = evaluator.statistics(arch, executors.space.build(arch))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-3, 1e-5), own, stats)


def test_with_batch_statistics_a_split_calibrates_itself(executors, params, data, archs):
    """One batch that is the calibration set: its own statistics are the calibrated ones."""
    split = data.train.take(np.arange(256))
    evaluator = SupernetEvaluator(executors, params, data, 256, None, batch_statistics=True)
    own = evaluator.accuracies(archs, split, calibrate=False)
    np.testing.assert_allclose(own, evaluator.accuracies(archs, split), atol=1.5 / 256)
    found = evaluator.evaluate(archs)["accuracy"]
    expected = evaluator.accuracies(archs, data.validation, calibrate=False)
    np.testing.assert_array_equal(found, expected)


def test_switch_is_taken_where_masked_pays_full_width(executors):
    with OPERATION.use("reference"):
        assert Executors(executors.space, executors.blocks).elastic.__class__ is Switched
    if in_use("pointwise_conv").name == "cpu":
        assert executors.elastic is executors.masked


def test_a_network_is_evaluated_once(executors, params, data, archs, monkeypatch):
    evaluator = SupernetEvaluator(executors, params, data, CALIBRATION, 64)
    asked = []
    accuracies = evaluator.accuracies

    def counted(some, *rest):
        asked.append(len(some))
        return accuracies(some, *rest)

    monkeypatch.setattr(evaluator, "accuracies", counted)
    twice = np.concatenate([archs[:2], archs[:1]])
    first = evaluator.evaluate(twice)["accuracy"]
    again = evaluator.evaluate(archs[:3])["accuracy"]
    assert asked == [2, 1]
    assert first[0] == first[2] == again[0]
    assert evaluator.evaluate(archs[:0])["accuracy"].shape == (0,)
