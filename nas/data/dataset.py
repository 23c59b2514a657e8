"""What a loader gives: images as bytes, labels, and the splits of them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from search_spaces.errors import InputError

_CHUNK = 1024  # images; bounds the memory that the statistics take


@dataclass(frozen=True)
class Split:
    """Images, channels last, with values 0..255, and the class number of each."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The examples with these numbers, in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A dataset, split.

    Args:
        name: the loader's type.
        train: what weights are fitted on.
        validation: what search and predictors judge a network on.
        classes: class names; label `i` is `classes[i]`.
        mean: mean of the training images per channel, on the 0..1 scale.
        std: their standard deviation per channel, on the 0..1 scale, never 0.
        read_test: reads the test set; use `load_test`.
    """

    name: str
    train: Split
    validation: Split
    classes: tuple[str, ...]
    mean: Float32[np.ndarray, " c"]
    std: Float32[np.ndarray, " c"]
    read_test: Callable[[], Split]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def load_test(self) -> Split:
        """Read the test set, for the final verification and for nothing before it.

        Raises:
            InputError: it can't be read, or its images have another shape than those of `train`.
        """
        test = self.read_test()
        if test.images.shape[1:] != self.input_shape:
            raise InputError(
                f"{self.name}: the test images are {_shape(test.images.shape[1:])} while the "
                f"training images are {_shape(self.input_shape)}; both must have one shape: make "
                "the test set again"
            )
        return test

    def digest(self) -> str:
        """Content hash of the training and validation sets: 16 hexadecimal digits."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for split in (self.train, self.validation):
            digest.update(json.dumps(split.images.shape).encode())
            digest.update(np.ascontiguousarray(split.labels, dtype="<i4").data)
            digest.update(np.ascontiguousarray(split.images).data)
        return digest.hexdigest()[:16]


def statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[Float32[np.ndarray, " c"], Float32[np.ndarray, " c"]]:
    """Mean and standard deviation per channel on the 0..1 scale.

    Sums are of whole numbers, so the result doesn't depend on the order of summation. A constant
    channel gets a deviation of 1: normalised, it is 0 and not infinite.
    """
    n, height, width, channels = images.shape
    total = np.zeros(channels, np.int64)
    squares = np.zeros(channels, np.int64)
    for start in range(0, n, _CHUNK):
        # Rows of whole images: a sum over the short channel axis would be slow.
        chunk = images[start : start + _CHUNK].reshape(-1, height * width * channels)
        chunk = chunk.astype(np.uint32)
        total += chunk.sum(0, dtype=np.int64).reshape(-1, channels).sum(0)
        squares += (chunk * chunk).sum(0, dtype=np.int64).reshape(-1, channels).sum(0)
    count = n * height * width
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    deviation[(squares * count) == (total * total)] = 255.0
    return (mean / 255).astype(np.float32), (deviation / 255).astype(np.float32)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
