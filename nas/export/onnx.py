"""Export to ONNX: written, compared with JAX in ONNX Runtime on real images, described."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from nas.export.card import Network, card, metadata
from nas.export.folder import refuse_existing, write_folder
from nas.export.numerics import (
    TOLERANCE,
    Images,
    Outputs,
    Samples,
    compare,
    compare_accuracy,
)
from nas.export.registry import ExportReport
from search_spaces.errors import RunError
from search_spaces.ir.to_onnx import OPSET, to_bytes, to_onnx

MODEL_FILE = "model.onnx"
CARD_FILE = "card.json"

# Errors within the tolerance turn a guess only where two classes are as good as equal.
_LARGEST_DROP = 0.01


def export_onnx(
    network: Network,
    folder: Path,
    *,
    samples: Samples,
    reference: Callable[[Images], Any],
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Write `model.onnx` and `card.json` to a new folder, if the file computes what JAX computes.

    The file takes float32 images `(batch, c, h, w)` of any batch size, normalised as the card and
    its own metadata say.

    Args:
        network: batch norm folded, with everything that the card tells.
        folder: must not exist; it appears whole or not at all.
        samples: images that the file is compared and tested on.
        reference: outputs `(n, classes)` of the searched network in JAX for such images.
        tolerance: largest error relative to each image's largest output.

    Raises:
        RunError: the outputs differ by more, or the graph can't be exported.
        InputError: the folder exists, or can't be written.
    """
    return write_onnx("onnx", network, folder, samples, reference, tolerance, _LARGEST_DROP)


def write_onnx(
    target: str,
    network: Network,
    folder: Path,
    samples: Samples,
    reference: Callable[[Images], Any],
    tolerance: float,
    largest_drop: float,
) -> ExportReport:
    """Write a network whose graph is float32 or in 8 bits, once its file has passed both checks.

    Args:
        target: the format's name.
        network: as for `export_onnx`.
        folder: as for `export_onnx`.
        samples: as for `export_onnx`.
        reference: as for `export_onnx`.
        tolerance: as for `export_onnx`.
        largest_drop: by how much the file's accuracy may be below the reference's.

    Raises:
        RunError: a check failed, or the graph can't be exported.
        InputError: the folder exists, or can't be written.
    """
    refuse_existing(folder)
    _check(network, samples.images)
    data = to_bytes(to_onnx(network.graph, network.params, metadata=metadata(network)))
    run = runner(data, network.image[0])
    numerics = compare(
        run,
        samples.images,
        np.asarray(reference(samples.images)),
        batches=(len(samples.images), 1),
        tolerance=tolerance,
        runtime=f"ONNX Runtime {onnxruntime.__version__}",
    )
    accuracy = compare_accuracy(run, reference, samples.test(), largest_drop)
    facts = {
        "file": MODEL_FILE,
        "format": f"ONNX, opset {OPSET}",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    text = json.dumps(card(network, facts, numerics, accuracy), indent=2, allow_nan=False) + "\n"
    write_folder(folder, {MODEL_FILE: data, CARD_FILE: text.encode()})
    model, described = folder / MODEL_FILE, folder / CARD_FILE
    return ExportReport(
        target, folder, model, described, len(data), numerics, accuracy, network.latency
    )


def _check(network: Network, images: Images) -> None:
    graph = network.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise RunError("only networks with one input and one output are exported")
    shape, classes = network.image[1].shape, graph.type_of(graph.outputs[0]).shape
    if images.shape[1:] != shape or len(images) < 2:
        raise RunError(f"the check needs 2 or more images of {shape}, got {images.shape}")
    if classes != (len(network.classes),):
        raise RunError(f"{len(network.classes)} class names for outputs of shape {classes}")


def runner(data: bytes, image: str) -> Callable[[Images], Outputs]:
    """The file in ONNX Runtime: from images `(n, h, w, c)` to outputs, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(images: Images) -> Outputs:
        feed = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return np.asarray(session.run(None, {image: feed})[0])

    return run
