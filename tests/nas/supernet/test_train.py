from typing import Any

import jax
import numpy as np
import pytest

from nas.config.schema import Experiment
from nas.data.config import DigitsConfig
from nas.data.registry import load
from nas.supernet.executors import Executors
from nas.supernet.train import Trainer
from search_spaces.registry import create

EXPERIMENT: dict[str, Any] = {
    "name": "train",
    "space": {
        "type": "mobilenet_v3",
        "resolution": [8],
        "channels": 1,
        "classes": 10,
        "stem": 8,
        "stem_stride": 2,
        "widths": [8],
        "strides": [1],
        "hswish": [False],
        "squeeze_excite": [False],
        "depth": [1, 2],
        "kernel": [3],
        "expand": [2, 3],
        "head": [16, 24],
    },
    "data": {"type": "digits"},
    "devices": ["cpu"],
    "objectives": [{"metric": "accuracy"}],
}


@pytest.fixture(scope="module")
def data():
    return load(DigitsConfig(type="digits"), seed=0)


@pytest.fixture(scope="module")
def executors():
    return Executors(create(**EXPERIMENT["space"]))


def trained(data, executors, **supernet):
    experiment = Experiment.model_validate({**EXPERIMENT, "supernet": {"batch": 256, **supernet}})
    trainer = Trainer(experiment, data, executors)
    losses = []
    state = trainer.start()
    for epoch in range(trainer.config.epochs):
        state, loss = trainer.epoch(state, epoch)
        losses.append(loss)
    return state, losses


def test_the_loss_falls_and_is_the_same_again(data, executors):
    state, losses = trained(data, executors, epochs=4, learning_rate=0.01)
    assert losses[-1] < losses[0] - 0.2
    again, _ = trained(data, executors, epochs=4, learning_rate=0.01)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_training_as_long_as_its_warm_up(data, executors):
    _, losses = trained(data, executors, epochs=1, warmup_epochs=1.0)
    assert np.isfinite(losses).all()
