"""Export to ONNX: written, compared with JAX in ONNX Runtime on real images, described."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from jaxtyping import Float32

from nas.export.card import Network, metadata
from nas.export.checked import Judged, Written, check_samples, write_checked
from nas.export.folder import refuse_existing
from nas.export.numerics import TOLERANCE, Images, Outputs, Samples
from nas.export.registry import ExportReport
from search_spaces.ir.to_onnx import OPSET, check, to_bytes, to_onnx

MODEL_FILE = "model.onnx"

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
    check_samples(network, samples)
    model = to_onnx(network.graph, network.params, metadata=metadata(network))
    data = to_bytes(check(model))
    written = Written(target, f"ONNX, opset {OPSET}", MODEL_FILE, {MODEL_FILE: data}, "NCHW")
    judged = Judged(
        runner(data, network.image[0]),
        f"ONNX Runtime {onnxruntime.__version__}",
        (len(samples.images), 1),
        tolerance,
        largest_drop,
    )
    return write_checked(network, folder, written, judged, samples, reference)


def runner(data: bytes, image: str) -> Callable[[Images], Outputs]:
    """The file in ONNX Runtime: from images `(n, h, w, c)` to outputs, on one thread."""
    opened = session(data)

    def run(images: Images) -> Outputs:
        return np.asarray(opened.run(None, {image: channels_first(images)})[0])

    return run


def session(data: bytes) -> onnxruntime.InferenceSession:
    """The file in ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def channels_first(inputs: Float32[np.ndarray, "n ..."]) -> Float32[np.ndarray, "n ..."]:
    """Images, or vectors, as the file takes them."""
    return np.ascontiguousarray(np.moveaxis(inputs, -1, 1))
