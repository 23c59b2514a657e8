"""A training step lowers to the Pallas kernels of a platform that this machine lacks."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from kernels.dispatch import platform
from nas.config.schema import Experiment
from nas.data.dataset import Dataset, Split
from nas.supernet.executors import Executors
from nas.supernet.train import Trainer

TRITON = "__gpu$xla.gpu.triton"
TARGETS = [("cuda", TRITON), ("tpu", "tpu_custom_call")]
# Of a GPU's products XLA's own are the faster ones.
KERNELS = {"cuda": ("depthwise",), "tpu": ("depthwise", "pointwise")}
# Forward, and the gradients of the input and of the weights.
CALLS = 3
BATCH = 4

SPACE = {
    "type": "mobilenet_v3",
    "resolution": [8],
    "channels": 1,
    "classes": 3,
    "stem": 8,
    "widths": [8, 16],
    "strides": [1, 2],
    "hswish": [False, True],
    "squeeze_excite": [False, True],
    "depth": [1, 2],
    "kernel": [3, 5],
    "expand": [2, 3],
    "head": [16, 24],
}


@pytest.fixture(scope="module")
def trainer():
    experiment = Experiment.model_validate(
        {
            "name": "lowering",
            "space": SPACE,
            "data": {"type": "digits"},
            "supernet": {"epochs": 2, "batch": BATCH},
            "devices": ["cpu"],
            "objectives": [{"metric": "accuracy"}],
        }
    )
    images = np.zeros((BATCH, 8, 8, 1), np.uint8)
    split = Split(images, np.zeros(BATCH, np.int32))
    data = Dataset(
        name="none",
        train=split,
        validation=split,
        classes=("a", "b", "c"),
        mean=np.zeros(1, np.float32),
        std=np.ones(1, np.float32),
        read_test=lambda: split,
    )
    trainer = Trainer(experiment, data, Executors(experiment.space.create()))
    trainer.elastic = trainer.executors.masked
    return trainer


def kernels_of(graph, name):
    return sum(Counter(node.op for node in graph.nodes)[op] for op in KERNELS[name])


def lowered(function, name, *shapes):
    checks = [export.DisabledSafetyCheck.custom_call(TRITON)]
    with platform(name):
        exported = export.export(jax.jit(function), platforms=[name], disabled_checks=checks)
        return exported(*shapes).mlir_module()


@pytest.mark.parametrize(("name", "target"), TARGETS)
def test_every_convolution_of_a_step_is_a_kernel(trainer, name, target):
    space, executors = trainer.space, trainer.executors
    static = executors.static_options(space.largest())

    def step(state, images, labels, slots):
        params = state["params"]
        hard = trainer.hard_targets(labels)
        (loss, teacher), grads = trainer._extreme(static, True)(params, images, hard)
        targets = jax.nn.softmax(teacher)
        found = [grads, trainer._extreme(static, False)(params, images, targets)[1]]
        found.append(trainer._member(params, images, targets, slots, static)[1])
        return trainer._update(state, found), loss

    slots = executors.masked.rows(space.sample(np.random.default_rng(0), 1))[0]
    images = jnp.zeros((BATCH, 8, 8, 1))
    labels = jnp.zeros(BATCH, jnp.int32)
    text = lowered(step, name, jax.eval_shape(trainer.start), images, labels, slots)
    graphs = [space.build(space.largest()), space.build(space.smallest())]
    graphs.append(executors.super_graph(static))
    assert text.count(target) == CALLS * sum(kernels_of(graph, name) for graph in graphs)


@pytest.mark.parametrize(("name", "target"), TARGETS)
def test_a_population_lowers_to_kernels(trainer, name, target):
    executors = trainer.executors
    static = executors.static_options(trainer.space.largest())
    slots = executors.masked.rows(trainer.space.sample(np.random.default_rng(0), 3))

    def logits(params, images, slots):
        return executors.masked(params, slots, images, static)[0]

    text = lowered(
        jax.vmap(logits, (None, None, 0)),
        name,
        jax.eval_shape(trainer.start)["params"],
        jnp.zeros((BATCH, 8, 8, 1)),
        slots,
    )
    assert text.count(target) == kernels_of(executors.super_graph(static), name)


def test_without_a_platform_there_are_none(trainer):
    executors = trainer.executors
    graph = trainer.space.build(trainer.space.largest())
    params = jax.eval_shape(trainer.start)["params"]
    run = jax.jit(lambda params, images: executors.sliced(params, graph, images)[0])
    text = run.lower(params, jnp.zeros((BATCH, 8, 8, 1))).as_text()
    assert not any(target in text for _, target in TARGETS)
