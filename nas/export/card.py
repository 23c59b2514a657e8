"""What is known of an exported network: where it comes from, what it eats, how well it does.

The card is written beside the file (`card.json`); its essentials also go into the file itself.
"""

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from nas.export.numerics import Accuracy, Numerics
from search_spaces.ir.count import count
from search_spaces.ir.graph import Graph, TensorType
from search_spaces.space import Arch, SearchSpace

CARD_VERSION = 1
RESIZE = "antialiased bilinear"


@dataclass(frozen=True, slots=True)
class Origin:
    """The architecture, and the search that it comes from.

    Args:
        space: name of the space.
        space_version: version of the space's definition.
        space_parameters: its parameters, JSON-able.
        arch: the architecture's entries.
        choices: the same by knob, only those that the network reads.
        seed: of the run.
        tables: digest of the latency table of each device, by device.
    """

    space: str
    space_version: int
    space_parameters: Mapping[str, Any]
    arch: tuple[int, ...]
    choices: Mapping[str, int | float | str]
    seed: int
    tables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, space: SearchSpace, arch: Arch, seed: int, tables: Mapping[str, str] | None = None
    ) -> "Origin":
        """Origin of an architecture of a space (which is a dataclass of its parameters)."""
        parameters = {
            item.name: getattr(space, item.name)
            for item in dataclasses.fields(space)  # pyright: ignore[reportArgumentType]
        }
        entries = tuple(int(entry) for entry in arch)
        choices = space.decode(arch)
        return cls(
            space.name, space.version, parameters, entries, choices, seed, dict(tables or {})
        )


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From an example of the data to the network's input.

    Bytes are divided by 255, the mean is taken off and the rest divided by the deviation, per
    channel; the image is resized to the network's resolution before or after (it comes to the
    same). None of this is in the exported file, whose input is float32.

    Args:
        mean: per channel, on the 0..1 scale.
        std: per channel, on the 0..1 scale.
        data: how a file becomes an image of bytes: the loader, its settings, and the image's
            height, width and channels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of the network, and where it is from.

    Args:
        name: with its unit and device where it has them, e.g. `test_accuracy`, `latency_ms@cpu`.
        value: the figure.
        source: how it came about: `measured`, `predicted`, `counted`, …
        spread: its uncertainty in the same unit (standard deviation or half a 90 % interval).
    """

    name: str
    value: float
    source: str
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is ready to be exported.

    Args:
        graph: batch norm folded, one input image and one output vector.
        params: its parameters, folded too.
        origin: where it comes from.
        preprocessing: what its input has gone through.
        classes: names of the output's entries.
        metrics: what is known of it.
        latency: whole-network measurements by device, each a JSON-able mapping with value, spread
            and provenance.
    """

    graph: Graph
    params: Mapping[str, Mapping[str, Any]]
    origin: Origin
    preprocessing: Preprocessing
    classes: Sequence[str]
    metrics: Sequence[Metric] = ()
    latency: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def image(self) -> tuple[str, TensorType]:
        """Name and type of the input."""
        return next(iter(self.graph.inputs.items()))


def metadata(network: Network) -> dict[str, str]:
    """The essentials that travel inside the file, as text; everything but names is JSON."""
    origin = network.origin
    values = {
        "arch": list(origin.arch),
        "choices": dict(origin.choices),
        "space": _space(origin),
        "seed": origin.seed,
        "table_digests": dict(origin.tables),
        "classes": list(network.classes),
        "preprocessing": _preprocessing(network),
    }
    return {
        "producer": f"hwnas {version('hwnas')}",
        "graph_digest": network.graph.digest(),
        **{key: json.dumps(value, sort_keys=True) for key, value in values.items()},
    }


def card(
    network: Network,
    model: Mapping[str, Any],
    numerics: Numerics,
    accuracy: Accuracy,
    *,
    layout: str = "NCHW",
    dtype: str = "float32",
) -> dict[str, Any]:
    """The content of `card.json`.

    Args:
        network: what was exported.
        model: facts of the written file (`file`, `bytes`, `sha256`, `format` …).
        numerics: how it compares with the network that was searched.
        accuracy: how it does on the test set.
        layout: of the input, `NCHW` or `NHWC`.
        dtype: of the input.
    """
    origin, counts = network.origin, count(network.graph)
    return {
        "card_version": CARD_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": dict(model),
        "space": _space(origin),
        "architecture": {"choices": dict(origin.choices), "vector": list(origin.arch)},
        "seed": origin.seed,
        "graph_digest": network.graph.digest(),
        "table_digests": dict(origin.tables),
        "input": _input(network, layout, dtype),
        "output": {"name": network.graph.outputs[0], "classes": list(network.classes)},
        "cost": {
            "macs": counts.macs,
            "params": counts.params,
            "param_bytes": counts.param_bytes,
            "activation_bytes": counts.activation_bytes,
        },
        "metrics": [dataclasses.asdict(metric) for metric in network.metrics],
        "latency": {device: dict(figures) for device, figures in network.latency.items()},
        "numerics": dataclasses.asdict(numerics),
        "test_accuracy": dataclasses.asdict(accuracy),
        "versions": _versions(),
    }


def _space(origin: Origin) -> dict[str, Any]:
    return {
        "name": origin.space,
        "version": origin.space_version,
        "parameters": dict(origin.space_parameters),
    }


def _preprocessing(network: Network) -> dict[str, Any]:
    (height, width, _) = network.image[1].shape
    return {
        "data": dict(network.preprocessing.data),
        "resize": {"height": height, "width": width, "method": RESIZE},
        "divide_by": 255,
        "mean": list(network.preprocessing.mean),
        "std": list(network.preprocessing.std),
    }


def _input(network: Network, layout: str, dtype: str) -> dict[str, Any]:
    name, kind = network.image
    sizes: dict[str, int | str] = dict(zip("HWC", kind.shape, strict=True)) | {"N": "batch"}
    return {
        "name": name,
        "layout": layout,
        "dtype": dtype,
        "shape": [sizes[axis] for axis in layout],
        "preprocessing": _preprocessing(network),
    }


def _versions() -> dict[str, str]:
    packages = ("hwnas", "jax", "numpy", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
