from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from search_spaces.errors import InputError


def test_every_image_is_in_one_split(read):
    dataset = read(type="digits")
    splits = [dataset.train, dataset.validation, dataset.load_test()]
    images = np.concatenate([split.images for split in splits]).reshape(-1, 64)
    labels = np.concatenate([split.labels for split in splits])
    digits: Any = load_digits()
    expected = np.rint(digits.data * 255 / 16)
    found = np.column_stack([images, labels])
    wanted = np.column_stack([expected, digits.target])
    np.testing.assert_array_equal(np.sort(_rows(found)), np.sort(_rows(wanted)))
    assert images.max() == 255
    assert dataset.classes == tuple("0123456789")
    assert dataset.input_shape == (8, 8, 1)


def test_the_test_set_is_the_same_for_every_seed(read):
    first, second = read(seed=0, type="digits"), read(seed=1, type="digits")
    np.testing.assert_array_equal(first.load_test().images, second.load_test().images)
    assert len(first.load_test()) == pytest.approx(0.2 * 1797, abs=5)
    assert first.digest() != second.digest()
    assert first.digest() == read(seed=0, type="digits").digest()


def test_augmentation_must_fit_the_image(read):
    with pytest.raises(InputError) as caught:
        read(type="digits", augment={"crop_padding": 8, "cutout": 9})
    assert caught.value.problems == [
        "data.augment.crop_padding: 8 pixels, but the images are 8x8; it must be less than 8",
        "data.augment.cutout: 9 pixels, but the images are 8x8; it must be less than 8",
    ]


def _rows(matrix: np.ndarray) -> np.ndarray:
    return np.array([row.tobytes() for row in matrix.astype(np.uint8)])
