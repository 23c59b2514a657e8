"""Export to C for microcontrollers: steps from real images, checks, and a run as machine code."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hw_profiles.mcu.batched import runner
from hw_profiles.mcu.codegen import Sources, generate
from hw_profiles.mcu.lower import Int8Network, lower
from hw_profiles.mcu.patches import in_patches
from nas.calibration import calibrated
from nas.export.card import Network
from nas.export.checked import Judged, Written, check_samples, write_checked
from nas.export.folder import refuse_existing, write_folder
from nas.export.numerics import Images, Outputs, Samples
from nas.export.registry import ExportReport
from search_spaces.errors import RunError
from search_spaces.ir.patches import Patches

# As of 8 bits in ONNX (`onnx_int8`): outputs of a sound network are off by a few hundredths.
TOLERANCE, LARGEST_DROP = 1.0, 0.05
_CORE = "cortex_m7"


def export_c(
    network: Network,
    folder: Path,
    *,
    samples: Samples,
    reference: Callable[[Images], Any],
    tolerance: float = TOLERANCE,
) -> ExportReport:
    """Write C sources that a cross compiler builds, with a test input, and `card.json`.

    Accuracy is that of the layers' exact arithmetic in JAX. Where the extra `mcu` is installed, the
    sources are built as well and run in the emulator, and must make the same bytes.

    Args:
        network: float32, batch norm folded, with everything that the card tells; the code runs in
            the patches that its graph asks for.
        folder: must not exist; it appears whole or not at all.
        samples: images that steps are taken from and that the code is tested on.
        reference: outputs `(n, classes)` of the searched network in JAX for such images.
        tolerance: largest error relative to each image's largest output.

    Raises:
        RunError: outputs are off by more, 5 % of the test images less are right, or the machine
            code makes other bytes than the reference.
        InputError: a layer has no C kernel, the network can't be cut into such patches, or the
            folder exists or can't be written.
    """
    refuse_existing(folder)
    check_samples(network, samples)
    graph = calibrated(network.graph, network.params, samples.calibration(), whole=True)
    layers = lower(graph, network.params)
    sources = generate(in_patches(layers, graph), layers.rounded(samples.images[:1])[0])
    facts = {
        "patches": graph.patches.side if isinstance(graph.patches, Patches) else 1,
        "arena_bytes": sources.plan.arena_bytes,
        "checked_on": _emulated(sources),
    }
    written = Written("c", "C11", "model.c", sources.files, "NHWC", "int8", facts)
    judged = Judged(
        real_outputs(layers),
        "int8 arithmetic in JAX",
        (len(samples.images),),
        tolerance,
        LARGEST_DROP,
    )
    return write_checked(replace(network, graph=graph), folder, written, judged, samples, reference)


def real_outputs(layers: Int8Network) -> Callable[[Images], Outputs]:
    """An int8 network on real images, with the numbers that its outputs stand for."""
    run, kind = runner(layers), layers.quantization[layers.outputs[0]]

    def outputs(images: Images) -> Outputs:
        return (run(layers.rounded(images)).astype(np.float64) - kind.zero_point) * kind.scale

    return outputs


def _emulated(sources: Sources) -> str | None:
    """Where the machine code made the expected bytes; None where nothing can run it.

    Raises:
        RunError: it made others.
    """
    if find_spec("unicorn") is None or find_spec("ziglang") is None:
        return None
    from hw_profiles.mcu.codegen import wrong_bytes

    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        write_folder(folder, sources.files)
        wrong = wrong_bytes(folder, _CORE)
    if wrong:
        raise RunError(f"{wrong} bytes of the output differ on an emulated {_CORE}: not exported")
    return f"{_CORE}, emulated"
