"""What a run's folder and its experiment make, each made or read when it is first asked for.

Stages leave results in the folder; the next stage, a resumed run and the export of a finished one
all read them back through here, so there is one way from a folder to a network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from hw_profiles import table
from hw_profiles.device import DeviceSpec, load_device
from hw_profiles.table import LatencyTable
from nas.config.schema import Experiment
from nas.costs import Costs
from nas.data.augment import normalise
from nas.data.dataset import Dataset
from nas.data.registry import load as load_data
from nas.supernet.checkpoint import Checkpoints
from nas.supernet.evaluate import SupernetEvaluator
from nas.supernet.executors import Executors, Params
from predictors import registry
from predictors.base import Predictor
from search_spaces.errors import InputError
from search_spaces.ir.elastic import cut
from search_spaces.ir.graph import Graph
from search_spaces.ir.passes import fold_batchnorm, fold_params
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.supernet.train import Trainer
    from predictors.zero_cost import ZeroCost

# Training images that untrained networks are judged on.
_PROXY_IMAGES = 32


@dataclass(frozen=True)
class Workbench:
    """The objects of a run.

    Args:
        experiment: the run's configuration.
        folder: the run's folder.
    """

    experiment: Experiment
    folder: Path

    @cached_property
    def data(self) -> Dataset:
        """The dataset, checked against the space."""
        data = load_data(self.experiment.data, self.experiment.seed)
        _check_fit(self.space, data)
        return data

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.experiment.space.create()

    @cached_property
    def executors(self) -> Executors:
        """What runs sub-networks."""
        return Executors(self.space)

    @cached_property
    def devices(self) -> Mapping[str, DeviceSpec]:
        """The devices by id."""
        return {name: load_device(name) for name in self.experiment.devices}

    def table_path(self, device: str) -> Path:
        """The run's own copy of a device's latency table."""
        return self.folder / "tables" / f"{Path(device).name}.json"

    @cached_property
    def tables(self) -> Mapping[str, LatencyTable]:
        """The latency tables that the profile stage left."""
        return {name: table.load(self.table_path(name)) for name in self.devices}

    @cached_property
    def costs(self) -> Costs:
        """Costs of populations on all devices."""
        allow = self.experiment.allow_interpolation
        return Costs.of(self.executors.blocks, self.devices, self.tables, allow)

    @cached_property
    def trainer(self) -> "Trainer":
        """The training of the super-network."""
        from nas.supernet.train import Trainer

        return Trainer(self.experiment, self.data, self.executors)

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The super-network's checkpoints."""
        return Checkpoints(self.folder / "supernet")

    @cached_property
    def params(self) -> Params:
        """The super-network's averaged weights, from the last checkpoint.

        Raises:
            InputError: the training has not ended, so there are none.
        """
        epochs = self.experiment.supernet.epochs
        if epochs not in self.checkpoints.epochs():
            raise InputError(
                f"{self.folder}: its super-network is not trained to the end ({epochs} epochs); "
                "continue the run with --resume"
            )
        return self.checkpoints.restore(self.trainer.start())["average"]

    @cached_property
    def evaluator(self) -> SupernetEvaluator:
        """Accuracy of sub-networks."""
        return self._evaluator(self.params)

    def folded(
        self, graph: Graph, stats: Mapping[str, Any]
    ) -> tuple[Graph, dict[str, dict[str, Any]]]:
        """A network as it is deployed: batch norm folded, with its parameters in NumPy arrays.

        Args:
            graph: one architecture of the space.
            stats: its batch-norm statistics, from `evaluator.calibrate` or `evaluator.statistics`.
        """
        own = cut(self._arrays, graph)
        return fold_batchnorm(graph), fold_params(graph, own, jax.tree.map(np.asarray, stats))

    @cached_property
    def _arrays(self) -> dict[str, dict[str, Any]]:
        """The weights as NumPy has them, in which slicing compiles nothing."""
        return jax.tree.map(np.asarray, self.params)

    @cached_property
    def predictor(self) -> Predictor:
        """The fitted accuracy predictor."""
        return registry.load(self.predictor_folder, self.space, **self.extra_features)

    @property
    def extra_features(self) -> Mapping[str, Any]:
        """What the accuracy predictor sees beside the architectures, as its parameter."""
        return {} if self.proxies is None else {"extra": self.proxies}

    @cached_property
    def proxies(self) -> "ZeroCost | None":
        """Zero-cost proxies on training images, where the experiment asks for any."""
        names = self.experiment.predictors.accuracy.zero_cost
        if not names:
            return None
        from predictors.zero_cost import ZeroCost

        data, seed = self.data, self.experiment.seed
        mean, std = jax.numpy.asarray(data.mean), jax.numpy.asarray(data.std)
        images = jax.numpy.asarray(data.train.images[:_PROXY_IMAGES])
        images = np.asarray(normalise(images, mean, std))
        labels = data.train.labels[:_PROXY_IMAGES]
        return ZeroCost(self.space, names, images, labels, seed)

    @property
    def predictor_folder(self) -> Path:
        """Where the accuracy predictor and its report lie."""
        return self.folder / "predictors" / "accuracy"

    def _evaluator(self, params: Params) -> SupernetEvaluator:
        config = self.experiment.evaluation
        return SupernetEvaluator(
            self.executors,
            params,
            self.data,
            config.calibration_images,
            config.validation_images,
            config.statistics == "batch",
        )


def shared(bench: Workbench) -> dict[str, Any]:
    """What `make_evaluator` needs, in plain values and NumPy arrays."""
    return {
        "experiment": bench.experiment.model_dump(mode="json", by_alias=True),
        "folder": str(bench.folder),
        "params": jax.tree.map(np.asarray, bench.params),
    }


def make_evaluator(shared: Mapping[str, Any]) -> SupernetEvaluator:
    """The evaluator in a worker process."""
    experiment = Experiment.model_validate(shared["experiment"])
    bench = Workbench(experiment, Path(shared["folder"]))
    # Copied by the device once; an aliased shared array would pin the object store.
    return bench._evaluator(jax.tree.map(jax.numpy.array, shared["params"]))


def _check_fit(space: SearchSpace, data: Dataset) -> None:
    graph = space.build(None)
    (image,) = graph.inputs.values()
    (output,) = graph.outputs
    problems = []
    if image.shape[-1] != data.input_shape[-1]:
        problems.append(
            f"space: its networks take images of {image.shape[-1]} channels, {data.name} has "
            f"{data.input_shape[-1]}; set space.channels: {data.input_shape[-1]}"
        )
    if graph.type_of(output).shape != (len(data.classes),):
        problems.append(
            f"space: its networks have {graph.type_of(output).shape[0]} outputs, {data.name} has "
            f"{len(data.classes)} classes; set space.classes: {len(data.classes)}"
        )
    if problems:
        raise InputError(problems)
