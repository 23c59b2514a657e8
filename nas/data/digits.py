"""The handwritten digits that scikit-learn carries: no download, 8x8 pixels, ten classes."""

from typing import Any

import numpy as np

from nas.data.config import DigitsConfig
from nas.data.dataset import Split
from nas.data.source import Source


def read(config: DigitsConfig) -> Source:  # noqa: ARG001 (every loader takes its config)
    """1,797 images with values 0..16, scaled to 0..255. There is no test set of its own."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    train = Split(images, digits.target.astype(np.int32))
    return Source("digits", train, tuple(str(name) for name in digits.target_names), None)
