"""Whether an exported file computes what the searched network computes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from search_spaces.errors import RunError

TOLERANCE = 1e-4

# Below this, outputs are so close to zero that a relative error says nothing.
_SMALLEST_OUTPUT = 1e-6

Images = Float32[np.ndarray, "n h w c"]
Outputs = Float[np.ndarray, "n classes"]
# Images and the class of each.
Labelled = tuple[Float32[np.ndarray, "_ h w c"], Int[np.ndarray, " _"]]


@dataclass(frozen=True)
class Samples:
    """Real images, normalised and in a network's resolution.

    Args:
        images: a few, whose outputs are compared one by one; two or more.
        calibration: training images in batches, from which ranges of tensors are taken.
        test: the test set in batches.
    """

    images: Images
    calibration: Callable[[], Iterable[Images]]
    test: Callable[[], Iterable[Labelled]]


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


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What is right at the first guess (0 to 1).

    Args:
        value: of the exported file on the test set.
        reference: of the searched network in float32 on the same images.
        agreement: share of the images for which both name the same class.
        n_images: size of the test set.
    """

    value: float
    reference: float
    agreement: float
    n_images: int


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


def compare_accuracy(
    run: Callable[[Images], Outputs],
    reference: Callable[[Images], Any],
    test: Iterable[Labelled],
    largest_drop: float,
) -> Accuracy:
    """Accuracy of a file beside that of its reference.

    Args:
        run: the exported file, for one batch.
        reference: outputs `(n, classes)` of the searched network.
        test: the test set in batches.
        largest_drop: by how much the file may be worse.

    Raises:
        RunError: it is worse by more.
    """
    rows = []
    for images, labels in test:
        of_file, of_reference = (
            np.asarray(outputs).argmax(1) for outputs in (run(images), reference(images))
        )
        rows.append([of_file == labels, of_reference == labels, of_file == of_reference])
    right = np.concatenate(rows, axis=1)
    value, known, agreement = map(float, right.mean(1))
    if known - value > largest_drop:
        raise RunError(
            f"the file gets {value:.2%} of {right.shape[1]} test images right, the searched "
            f"network {known:.2%}, {largest_drop:.0%} less are allowed: nothing was exported"
        )
    return Accuracy(value, known, agreement, right.shape[1])
