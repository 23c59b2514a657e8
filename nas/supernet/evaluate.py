"""Accuracy of sub-networks with inherited weights, after batch-norm recalibration.

The running statistics of batch norm belong to one sub-network, so none are kept: every evaluation
first takes them anew from training images (Yu and Huang, "Universally Slimmable Networks", ICCV
2019, §3.2).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int, UInt8

from nas.data.augment import normalise
from nas.data.dataset import Dataset, Split
from nas.data.resize import resize
from nas.supernet.executors import Executors, input_size
from search_spaces.ir.builder import Option
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import Params, Stats
from search_spaces.space import Arch, Archs

_BATCH = 256
_GROUP = 8  # networks whose parameters are kept at a time


class SupernetEvaluator:
    """Validation accuracy of architectures; an `Evaluator` of the search.

    Images are prepared once for a group of networks. On a CPU these run one after another, each at
    its own cost; on an accelerator at once, under `jax.vmap`.

    Args:
        executors: of the space.
        params: the trained super-network's weights.
        data: calibration uses its training images, accuracy its validation images.
        calibration_images: how many training images set the statistics.
        validation_images: how many validation images are used; None takes all.
        batch_statistics: whether `evaluate` normalises each validation batch with its own
            statistics, a cheaper estimate without calibration.
        at_once: whether the networks of a group run at once; None asks the default device.
    """

    def __init__(
        self,
        executors: Executors,
        params: Params,
        data: Dataset,
        calibration_images: int,
        validation_images: int | None,
        batch_statistics: bool = False,
        at_once: bool | None = None,
    ) -> None:
        self.executors = executors
        self.params = params
        self.data = data
        self.calibration = data.train.images[:calibration_images]
        self.validation = Split(
            data.validation.images[:validation_images], data.validation.labels[:validation_images]
        )
        self.elastic = executors.elastic
        self.batch_statistics = batch_statistics
        self.at_once = jax.default_backend() != "cpu" if at_once is None else at_once
        self._programs = cache(self._make_programs)
        self._known: dict[bytes, float] = {}

    def evaluate(self, archs: Archs) -> dict[str, Float[np.ndarray, " n"]]:
        """`accuracy` (0 to 1) of each architecture on the validation images.

        A network is evaluated once, however it is asked for.
        """
        keys = [arch.tobytes() for arch in self.executors.space.computed(archs).astype(np.int64)]
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        rows = list(new.values())
        calibrate = not self.batch_statistics
        found = self.accuracies(archs[rows], self.validation, calibrate)
        self._known |= zip(new, found.tolist(), strict=True)
        return {"accuracy": np.array([self._known[key] for key in keys])}

    def accuracies(
        self, archs: Archs, split: Split, calibrate: bool = True
    ) -> Float[np.ndarray, " n"]:
        """Accuracy (0 to 1) of each architecture on a split.

        Args:
            archs: the architectures.
            split: images and labels.
            calibrate: whether each is recalibrated on training images before, as when it is
                deployed; else batches of the split are normalised with their own statistics.
        """
        groups: dict[tuple[Option, ...], list[int]] = {}
        for i, arch in enumerate(archs):
            groups.setdefault(self.executors.static_options(arch), []).append(i)
        rows = self.elastic.rows(archs)
        out = np.zeros(len(archs))
        for static, members in groups.items():
            for first in range(0, len(members), _GROUP):
                some = members[first : first + _GROUP]
                out[some] = self._group(static, list(rows[some]), split, calibrate)
        return out

    def _group(
        self,
        static: tuple[Option, ...],
        rows: list[Int[np.ndarray, " k"]],
        split: Split,
        calibrate: bool,
    ) -> Float[np.ndarray, " n"]:
        run = self._programs(static)
        size = input_size(self.executors.super_graph(static))
        if calibrate:
            stats = self._moments(static, rows)
            networks = run.fold(list(zip(rows, stats, strict=True)), self.params)
            count = partial(run.right, networks)
        else:
            count = partial(run.right_alone, rows, self.params)
        right = np.zeros(len(rows), int)
        for images, labels in zip(_batches(split.images), _batches(split.labels), strict=True):
            missing = _BATCH - len(images) if len(split.labels) > _BATCH else 0
            # Real images fill up, since they may take part in the statistics.
            filled = np.concatenate([images, split.images[:missing]])
            known = np.concatenate([labels, np.full(missing, -1, labels.dtype)])
            right += np.array(count(self.prepare(filled, size), known))
        return right / len(split.labels)

    def _make_programs(self, static: tuple[Option, ...]) -> "_Programs":
        elastic = self.elastic

        def moments(row: Array, params: Params, images: Array) -> Stats:
            return elastic(params, row, images, static)[1]

        def fold(network: tuple[Array, Stats], params: Params) -> tuple[Array, Any]:
            row, stats = network
            return row, elastic.fold(params, row, static, stats)

        def right(network: tuple[Array, Any], images: Array, labels: Array) -> Array:
            row, folded = network
            return hits(elastic.infer(folded, row, images, static), labels)

        def right_alone(row: Array, params: Params, images: Array, labels: Array) -> Array:
            return hits(elastic(params, row, images, static)[0], labels)

        def hits(logits: Array, labels: Array) -> Array:
            return jnp.sum(jnp.argmax(logits, -1).astype(labels.dtype) == labels)

        programs = (moments, fold, right, right_alone)
        return _Programs(*(_population(f, self.at_once) for f in programs))

    def _moments(
        self, static: tuple[Option, ...], rows: list[Int[np.ndarray, " k"]]
    ) -> list[Stats]:
        """Batch-norm statistics of each network, in the sizes of the super-graph."""
        run, size = self._programs(static), input_size(self.executors.super_graph(static))
        found = [run.moments(rows, self.params, x) for x in self.calibration_batches(size)]
        return [_pool(list(of_network)) for of_network in zip(*found, strict=True)]

    def statistics(self, arch: Arch, graph: Graph) -> dict[str, dict[str, np.ndarray]]:
        """What `calibrate` gives, by the program of all architectures: nothing is compiled anew.

        Args:
            arch: the architecture.
            graph: its graph.
        """
        static = self.executors.static_options(arch)
        (found,) = self._moments(static, list(self.elastic.rows(arch[None])))
        return {
            node.name: {k: np.asarray(v)[: node.out.shape[-1]] for k, v in found[node.name].items()}
            for node in graph.nodes
            if node.op == "batch_norm"
        }

    def calibrate(self, graph: Graph) -> Stats:
        """Batch-norm statistics of a concrete graph with inherited weights."""
        run = jax.jit(lambda params, images: self.executors.sliced(params, graph, images)[1])
        batches = self.calibration_batches(input_size(graph))
        return _pool([run(self.params, images) for images in batches])

    def prepare(self, images: UInt8[np.ndarray, "n h w c"], size: tuple[int, int]) -> Array:
        """What a network sees of raw images: normalised and resized."""
        mean, std = jnp.asarray(self.data.mean), jnp.asarray(self.data.std)
        return _prepare(images, mean, std, size)

    def calibration_batches(self, size: tuple[int, int]) -> Iterator[Array]:
        """Whole batches of training images, prepared."""
        whole = max(1, len(self.calibration) // _BATCH) * _BATCH
        return (self.prepare(images, size) for images in _batches(self.calibration[:whole]))

    def labelled_batches(
        self, split: Split, size: tuple[int, int]
    ) -> Iterator[tuple[Float32[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]]:
        """A split in batches, prepared."""
        for images, labels in zip(_batches(split.images), _batches(split.labels), strict=True):
            yield np.asarray(self.prepare(images, size)), labels


@dataclass(frozen=True)
class _Programs:
    """What is compiled for one choice of static knobs; each takes a list, and gives one.

    Args:
        moments: of a row, the weights and images: batch statistics.
        fold: of a row and pooled statistics, and the weights: a network.
        right: of a network, images and labels: how many it gets right.
        right_alone: of a row, the weights, images and labels: the same with batch statistics.
    """

    moments: Callable[..., list[Stats]]
    fold: Callable[..., list[Any]]
    right: Callable[..., list[Array]]
    right_alone: Callable[..., list[Array]]


def _population(run: Callable[..., Any], at_once: bool) -> Callable[..., list[Any]]:
    """`run(row, *shared)` for each of a list of rows, which may be trees.

    At once the rows are stacked, always to as many, so that one program serves all.
    """
    if not at_once:
        one = jax.jit(run)
        return lambda rows, *shared: [one(row, *shared) for row in rows]

    @jax.jit
    def batched(rows: Any, *shared: Any) -> Any:
        return jax.vmap(lambda row: run(row, *shared))(rows)

    def many(rows: list[Any], *shared: Any) -> list[Any]:
        padded = rows + [rows[-1]] * (_GROUP - len(rows))
        found = batched(jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded), *shared)
        leaves, tree = jax.tree.flatten(found)
        return [tree.unflatten([leaf[i] for leaf in leaves]) for i in range(len(rows))]

    return many


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
