from typing import Any

import jax
import jax.numpy as jnp
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


def test_the_average_of_a_short_training_is_of_its_end(data, executors):
    """By a decay of .999 it would still be the weights of the start."""
    experiment = Experiment.model_validate({**EXPERIMENT, "supernet": {"epochs": 4, "batch": 256}})
    trainer = Trainer(experiment, data, executors)
    start = trainer.start()
    state = {**start, "average": jax.tree.map(jnp.copy, start["params"])}
    gradients = [jax.tree.map(jnp.ones_like, start["params"])]
    for _ in range(4 * trainer.steps):
        state = trainer.update(state, gradients)

    def apart(one, other):
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        return sum(float(((a - b) ** 2).sum()) for a, b in pairs)

    fresh = trainer.start()["params"]  # those of `start` are given up
    assert apart(state["average"], state["params"]) < 0.1 * apart(state["average"], fresh)


@pytest.mark.parametrize(
    ("config", "decay"),
    [({"epochs": 4000}, 0.999), ({"epochs": 16}, 0.9), ({"epochs": 1}, 0.0)],
)
def test_the_average_reaches_back_over_an_eighth_at_most(data, executors, config, decay):
    experiment = Experiment.model_validate({**EXPERIMENT, "supernet": {"batch": 256, **config}})
    assert Trainer(experiment, data, executors).ema == pytest.approx(decay)
    config = {**config, "ema": 0.999}
    experiment = Experiment.model_validate({**EXPERIMENT, "supernet": {"batch": 256, **config}})
    assert Trainer(experiment, data, executors).ema == 0.999


def test_a_training_as_long_as_its_warm_up(data, executors):
    _, losses = trained(data, executors, epochs=1, warmup_epochs=1.0)
    assert np.isfinite(losses).all()
