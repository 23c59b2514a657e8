"""What every export does: run the file on real images, compare, describe, write."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.export.card import Network, card
from nas.export.folder import write_folder
from nas.export.numerics import Images, Outputs, Samples, compare, compare_accuracy
from nas.export.registry import ExportReport
from search_spaces.errors import RunError

CARD_FILE = "card.json"


@dataclass(frozen=True)
class Written:
    """What an exporter made.

    Args:
        target: the format's name.
        format: the same in words, with its version.
        model: path of the network's file among `files`.
        files: content by path in the folder.
        layout: of the input, `NCHW` or `NHWC`.
        dtype: of the input.
        facts: more for the card's `model`.
    """

    target: str
    format: str
    model: str
    files: Mapping[str, bytes]
    layout: str
    dtype: str = "float32"
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """How it is run, and what it has to reach.

    Args:
        run: the file, from images `(n, h, w, c)` to outputs.
        runtime: name and version of what that runs on.
        batches: the batch sizes to try.
        tolerance: largest error relative to each image's largest output.
        largest_drop: by how much its accuracy may be below the reference's.
    """

    run: Callable[[Images], Outputs]
    runtime: str
    batches: Sequence[int]
    tolerance: float
    largest_drop: float


def write_checked(
    network: Network,
    folder: Path,
    written: Written,
    judged: Judged,
    samples: Samples,
    reference: Callable[[Images], Any],
) -> ExportReport:
    """Write the files and their card, once they have passed the comparison and the test.

    Args:
        network: what was exported.
        folder: must not exist; it appears whole or not at all.
        written: the files.
        judged: how they are run.
        samples: images that they are compared and tested on.
        reference: outputs `(n, classes)` of the searched network in JAX for such images.

    Raises:
        RunError: a check failed.
        InputError: the folder exists, or can't be written.
    """
    numerics = compare(
        judged.run,
        samples.images,
        np.asarray(reference(samples.images)),
        batches=judged.batches,
        tolerance=judged.tolerance,
        runtime=judged.runtime,
    )
    accuracy = compare_accuracy(judged.run, reference, samples.test(), judged.largest_drop)
    data = written.files[written.model]
    facts = {
        "file": written.model,
        "format": written.format,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        **written.facts,
    }
    described = card(network, facts, numerics, accuracy, layout=written.layout, dtype=written.dtype)
    text = json.dumps(described, indent=2, allow_nan=False) + "\n"
    write_folder(folder, {**written.files, CARD_FILE: text.encode()})
    return ExportReport(
        written.target,
        folder,
        folder / written.model,
        folder / CARD_FILE,
        len(data),
        numerics,
        accuracy,
        network.latency,
    )


def check_samples(network: Network, samples: Samples) -> None:
    """Refuse networks that can't be exported, and images that are not theirs.

    Raises:
        RunError: with the reason.
    """
    graph = network.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise RunError("only networks with one input and one output are exported")
    shape, classes = network.image[1].shape, graph.type_of(graph.outputs[0]).shape
    if samples.images.shape[1:] != shape or len(samples.images) < 2:
        raise RunError(f"the check needs 2 or more images of {shape}, got {samples.images.shape}")
    if classes != (len(network.classes),):
        raise RunError(f"{len(network.classes)} class names for outputs of shape {classes}")
