"""Export to TensorFlow Lite in 8 bits, checked in LiteRT and run in TensorFlow Lite Micro."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from jaxtyping import Int8

from hw_profiles.mcu.arena import arena
from hw_profiles.mcu.lower import lower
from hw_profiles.mcu.tflite import to_tflite
from hw_profiles.mcu.toolchain import require
from nas.calibration import calibrated
from nas.export.c import LARGEST_DROP, TOLERANCE, real_outputs
from nas.export.card import Network
from nas.export.checked import Judged, Written, check_samples, write_checked
from nas.export.folder import refuse_existing
from nas.export.numerics import Images, Samples
from nas.export.registry import ExportReport
from search_spaces.errors import RunError

MODEL_FILE = "model.tflite"


def export_tflite(
    network: Network,
    folder: Path,
    *,
    samples: Samples,
    reference: Callable[[Images], Any],
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Write `model.tflite` in 8 bits, input and output int8, and `card.json`.

    LiteRT's reference kernels and TensorFlow Lite Micro must give the bytes that our own reference
    gives; with that, on the whole test set, accuracy is told. The card has the arena that
    TensorFlow Lite Micro takes beside that of our plan.

    Args:
        network: float32, batch norm folded, with everything that the card tells.
        folder: must not exist; it appears whole or not at all.
        samples: images that steps are taken from and that the file is tested on.
        reference: outputs `(n, classes)` of the searched network in JAX for such images.
        tolerance: largest error relative to each image's largest output.

    Raises:
        RunError: LiteRT or TensorFlow Lite Micro gives other bytes, outputs are off by more than
            the tolerance, or 5 % of the test images less are right.
        InputError: a layer has no form in TensorFlow Lite, the extra `tflite` is missing, or the
            folder exists or can't be written.
    """
    refuse_existing(folder)
    check_samples(network, samples)
    graph = calibrated(network.graph, network.params, samples.calibration(), whole=True)
    layers = lower(graph, network.params)
    data = to_tflite(layers, f"hwnas {network.graph.digest()}")
    images = layers.rounded(samples.images)
    expected = np.stack([layers.reference(image)[layers.outputs[0]].ravel() for image in images])
    micro, micro_bytes = run_micro(data, images)
    for runtime, made in (("LiteRT", run_litert(data, images)), ("TFLM", micro)):
        if (made != expected).any():
            raise RunError(
                f"{runtime} gives {(made != expected).sum()} of {made.size} outputs another value "
                "than our int8 reference: nothing was exported"
            )
    arenas = {
        "arena_bytes": arena(layers, simd=None).arena_bytes,
        "tensorflow_lite_micro_arena_bytes": micro_bytes,
    }
    written = Written(
        "tflite",
        "TensorFlow Lite, schema 3",
        MODEL_FILE,
        {MODEL_FILE: data},
        "NHWC",
        "int8",
        arenas,
    )
    judged = Judged(
        real_outputs(layers),
        f"LiteRT {_version()} (equal to int8 arithmetic in JAX)",
        (len(samples.images),),
        tolerance,
        LARGEST_DROP,
    )
    return write_checked(replace(network, graph=graph), folder, written, judged, samples, reference)


def _version() -> str:
    from importlib.metadata import version

    return version("ai-edge-litert")


def run_litert(data: bytes, images: Int8[np.ndarray, "n h w c"]) -> Int8[np.ndarray, "n classes"]:
    """Outputs of a file for int8 images, by LiteRT's reference kernels.

    Raises:
        InputError: the extra `tflite` is missing.
    """
    module: Any = require("ai_edge_litert.interpreter", "tflite")
    reference = module.OpResolverType.BUILTIN_REF
    interpreter = module.Interpreter(model_content=data, experimental_op_resolver_type=reference)
    interpreter.allocate_tensors()
    ((read,), (made,)) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        interpreter.set_tensor(read["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(made["index"]).ravel().copy())
    return np.stack(rows)


def run_micro(
    data: bytes, images: Int8[np.ndarray, "n h w c"]
) -> tuple[Int8[np.ndarray, "n classes"], int]:
    """The same by TensorFlow Lite Micro, and the bytes of arena that it took.

    Raises:
        InputError: the extra `tflite` is missing.
    """
    micro: Any = require("tflite_micro", "tflite")
    interpreter = micro.runtime.Interpreter.from_bytes(data)
    rows = []
    for image in images:
        interpreter.set_input(image[None], 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0).ravel().copy())
    said = _stderr_of(interpreter.print_allocations)
    found = re.search(r"Arena allocation total (\d+) bytes", said)
    if found is None:
        raise RunError("TensorFlow Lite Micro does not tell the size of its arena")
    return np.stack(rows), int(found[1])


def _stderr_of(function: Callable[[], object]) -> str:
    """What a function of C++ writes to the process's stderr: it is told nowhere else."""
    with TemporaryFile() as file:
        kept = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            function()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read().decode()
