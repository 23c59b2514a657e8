"""Whether an exported file computes what the searched network computes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from search_spaces.errors import RunError

TOLERANCE = 1e-4

# Below this, outputs are so close to zero that a relative error says nothing.
_SMALLEST_OUTPUT = 1e-6

Images = Float32[np.ndarray, "n h w c"]
Outputs = Float[np.ndarray, "n classes"]


@dataclass(frozen=True, slots=True)
class Numerics:
    """A comparison of the exported file with its reference.

    Args:
        max_relative_error: of all output entries, against the largest entry of their own output.
        tolerance: what it was allowed to be.
        n_images: how many images were compared.
        batches: the batch sizes in which the file was run.
        runtime: what ran the file.
    """

    max_relative_error: float
    tolerance: float
    n_images: int
    batches: tuple[int, ...]
    runtime: str


def relative_error(outputs: Outputs, expected: Outputs) -> float:
    """`max |a - b| / max |b|`, the worst of all images; infinite where an output is not finite.

    Args:
        outputs: what is judged, `a`.
        expected: the reference, `b`.
    """
    if not (np.isfinite(outputs).all() and np.isfinite(expected).all()):
        return np.inf
    difference = np.abs(outputs.astype(np.float64) - expected.astype(np.float64)).max(1)
    scale = np.maximum(np.abs(expected).max(1), _SMALLEST_OUTPUT)
    return float((difference / scale).max())


def compare(
    run: Callable[[Images], Outputs],
    images: Images,
    expected: Outputs,
    *,
    batches: Sequence[int],
    tolerance: float,
    runtime: str,
) -> Numerics:
    """Run all images in each batch size and judge the worst error.

    Args:
        run: the exported file, for one batch.
        images: as the network takes them.
        expected: the reference's outputs.
        batches: the batch sizes to try; the last batch of a round may be smaller.
        tolerance: largest error that passes.
        runtime: name and version of what `run` runs on.

    Raises:
        RunError: the error is above the tolerance, or the shapes differ.
    """
    worst = 0.0
    for batch in batches:
        parts = [run(images[start : start + batch]) for start in range(0, len(images), batch)]
        outputs = np.concatenate(parts)
        if outputs.shape != expected.shape:
            raise RunError(f"{runtime} gives outputs {outputs.shape}, JAX gives {expected.shape}")
        error = relative_error(outputs, expected)
        if error > tolerance:
            raise RunError(
                f"{runtime} and JAX differ by {error:.2g} (relative, batches of {batch}, "
                f"{len(images)} images), more than {tolerance:g}: nothing was exported"
            )
        worst = max(worst, error)
    return Numerics(worst, tolerance, len(images), tuple(batches), runtime)
