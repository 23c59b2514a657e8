import jax
import numpy as np
import pytest

from nas.data.config import DigitsConfig
from nas.data.registry import load
from nas.supernet.evaluate import SupernetEvaluator
from nas.supernet.executors import Executors, input_size
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

    def accuracy(arch):
        graph = executors.space.build(arch)
        images = evaluator.prepare(data.validation.images, input_size(graph))
        stats = evaluator.calibrate(graph)
        logits, _ = executors.sliced(params, graph, images, stats)
        return float(np.mean(np.argmax(logits, -1) == data.validation.labels))

    return [accuracy(arch) for arch in archs]


@pytest.mark.parametrize("at_once", [False, True])
def test_accuracies_are_those_of_the_concrete_networks(
    executors, params, data, archs, expected, at_once
):
    evaluator = SupernetEvaluator(executors, params, data, CALIBRATION, None, at_once)
    found = evaluator.accuracies(archs, data.validation)
    # Another order of sums may turn an image on the border between two classes.
    assert np.abs(found - expected).max() <= 1.5 / len(data.validation.labels)
    assert len(set(np.round(expected, 4))) > 1


def test_a_network_is_evaluated_once(executors, params, data, archs, monkeypatch):
    evaluator = SupernetEvaluator(executors, params, data, CALIBRATION, 64)
    asked = []
    accuracies = evaluator.accuracies

    def counted(some, split):
        asked.append(len(some))
        return accuracies(some, split)

    monkeypatch.setattr(evaluator, "accuracies", counted)
    twice = np.concatenate([archs[:2], archs[:1]])
    first = evaluator.evaluate(twice)["accuracy"]
    again = evaluator.evaluate(archs[:3])["accuracy"]
    assert asked == [2, 1]
    assert first[0] == first[2] == again[0]
    assert evaluator.evaluate(archs[:0])["accuracy"].shape == (0,)
