"""Export to ONNX in 8 bits: steps from real images, then the same checks as in float32."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.calibration import calibrated
from nas.export.card import Network
from nas.export.numerics import Images, Samples
from nas.export.onnx import write_onnx
from nas.export.registry import ExportReport

# Outputs of a sound network are off by a few hundredths; those of a broken one by about one.
_TOLERANCE = 1.0
_LARGEST_DROP = 0.05


def export_onnx_int8(
    network: Network,
    folder: Path,
    *,
    samples: Samples,
    reference: Callable[[Images], Any],
    tolerance: float = _TOLERANCE,
) -> ExportReport:
    """Write `model.onnx` in 8 bits (QDQ: unsigned activations, signed weights) and `card.json`.

    Input and output are float32, as those of `export_onnx`.

    Args:
        network: float32, batch norm folded, with everything that the card tells.
        folder: must not exist; it appears whole or not at all.
        samples: images that steps are taken from and that the file is tested on.
        reference: outputs `(n, classes)` of the searched network in JAX for such images.
        tolerance: largest error relative to each image's largest output.

    Raises:
        RunError: the file gets 5 % of the test images less right than the float32 network, its
            outputs are off by more than the tolerance, or the graph can't be exported.
        InputError: the folder exists, or can't be written.
    """
    graph = calibrated(network.graph, network.params, samples.calibration())
    network = replace(network, graph=graph)
    return write_onnx("onnx-int8", network, folder, samples, reference, tolerance, _LARGEST_DROP)
