"""Accuracy of sub-networks with inherited weights, after batch-norm recalibration.

The running statistics of batch norm belong to one sub-network, so none are kept: every evaluation
first takes them anew from training images (Yu and Huang, "Universally Slimmable Networks", ICCV
2019, §3.2).
"""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from nas.data.augment import normalise
from nas.data.dataset import Dataset, Split
from nas.data.resize import resize
from nas.supernet.executors import Executors, Logits, Params, input_size
from search_spaces.ir.builder import Option
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import Stats
from search_spaces.space import Archs

_BATCH = 256
Forward = Callable[[Array, Stats | None], tuple[Logits, Stats]]


class SupernetEvaluator:
    """Validation accuracy of architectures; an `Evaluator` of the search.

    Args:
        executors: of the space.
        params: the trained super-network's weights.
        data: calibration uses its training images, accuracy its validation images.
        calibration_images: how many training images set the statistics.
        validation_images: how many validation images are used; None takes all.
    """

    def __init__(
        self,
        executors: Executors,
        params: Params,
        data: Dataset,
        calibration_images: int,
        validation_images: int | None,
    ) -> None:
        self.executors = executors
        self.params = params
        self.data = data
        self.calibration = data.train.images[:calibration_images]
        self.validation = Split(
            data.validation.images[:validation_images], data.validation.labels[:validation_images]
        )
        self._masked = jax.jit(executors.masked, static_argnums=3)

    def evaluate(self, archs: Archs) -> dict[str, Float[np.ndarray, " n"]]:
        """`accuracy` (0 to 1) of each architecture on the validation images."""
        return {"accuracy": self.accuracies(archs, self.validation)}

    def accuracies(self, archs: Archs, split: Split) -> Float[np.ndarray, " n"]:
        """Accuracy (0 to 1) of each architecture on a split, each after its own recalibration."""
        slots = self.executors.slots(archs)
        accuracies = []
        for arch, row in zip(archs, slots, strict=True):
            static = self.executors.static_options(arch)
            size = input_size(self.executors.super_graph(static))
            forward = partial(self._forward_masked, row, static)
            stats = self._calibrate(forward, size)
            accuracies.append(self._accuracy(forward, size, stats, split))
        return np.array(accuracies)

    def calibrate(self, graph: Graph) -> Stats:
        """Batch-norm statistics of a concrete graph with inherited weights."""
        return self._calibrate(self._sliced(graph), input_size(graph))

    def prepare(self, images: UInt8[np.ndarray, "n h w c"], size: tuple[int, int]) -> Array:
        """What a network sees of raw images: normalised and resized."""
        mean, std = jnp.asarray(self.data.mean), jnp.asarray(self.data.std)
        return _prepare(images, mean, std, size)

    def _sliced(self, graph: Graph) -> Forward:
        run = jax.jit(
            lambda params, images, stats: self.executors.sliced(params, graph, images, stats)
        )
        return lambda images, stats: run(self.params, images, stats)

    def _forward_masked(
        self,
        slots: Int[np.ndarray, " s"],
        static: tuple[Option, ...],
        images: Array,
        stats: Stats | None,
    ) -> tuple[Logits, Stats]:
        return self._masked(self.params, slots, images, static, stats)

    def _calibrate(self, forward: Forward, size: tuple[int, int]) -> Stats:
        """Pooled mean and variance over whole batches of training images."""
        whole = max(1, len(self.calibration) // _BATCH) * _BATCH
        found = [
            forward(self.prepare(images, size), None)[1]
            for images in _batches(self.calibration[:whole])
        ]
        return _pool(found)

    def _accuracy(
        self, forward: Forward, size: tuple[int, int], stats: Stats, split: Split
    ) -> float:
        right = 0
        for images, labels in zip(_batches(split.images), _batches(split.labels), strict=True):
            missing = _BATCH - len(images) if len(split.labels) > _BATCH else 0
            padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
            logits, _ = forward(self.prepare(padded, size), stats)
            right += int(np.sum(np.argmax(logits, -1)[: len(labels)] == labels))
        return right / len(split.labels)


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH))


@partial(jax.jit, static_argnums=3)
def _prepare(images: Array, mean: Array, std: Array, size: tuple[int, int]) -> Array:
    return resize(normalise(images, mean, std), size)


@jax.jit
def _pool(found: list[Stats]) -> Stats:
    """Mean and variance of the union of equally large batches (law of total variance)."""

    def of_node(*batches: dict[str, Array]) -> dict[str, Array]:
        means = jnp.stack([batch["mean"] for batch in batches])
        within = jnp.mean(jnp.stack([batch["var"] for batch in batches]), 0)
        return {"mean": jnp.mean(means, 0), "var": within + jnp.var(means, 0)}

    return {node: of_node(*(stats[node] for stats in found)) for node in found[0]}
