"""The lazy table of loaders, and `load`: from the `data:` of a config to a split dataset."""

from collections.abc import Callable
from typing import Any

from nas.data.config import AugmentConfig, DataConfig
from nas.data.dataset import Dataset, Split, statistics
from nas.data.source import Source, check_classes
from nas.data.split import split_off
from search_spaces.errors import InputError
from search_spaces.named import Registry

LOADERS: Registry[Callable[[Any], Source]] = Registry(
    "loader",
    {
        "audio_folder": "nas.data.audio_folder:read",
        "cifar10": "nas.data.cifar10:read",
        "digits": "nas.data.digits:read",
        "fashion_mnist": "nas.data.fashion_mnist:read",
        "image_folder": "nas.data.image_folder:read",
        "npz": "nas.data.npz:read",
    },
)
names = LOADERS.names

# A dataset without a test set of its own gets the same one in every experiment, whatever the
# experiment's seed is: otherwise results of different seeds could not be compared.
TEST_SHARE = 0.2
TEST_SEED = 20_240_229


def load(config: DataConfig, seed: int) -> Dataset:
    """Read a dataset and split it.

    Args:
        config: the `data:` part of the experiment.
        seed: the experiment's seed; it decides which training images are for validation. The test
            set does not depend on it.

    Raises:
        InputError: the data can't be read, or breaks a rule.

    Example:
        >>> from nas.data.config import DigitsConfig
        >>> dataset = load(DigitsConfig(type="digits"), seed=0)
        >>> dataset.input_shape, len(dataset.train), len(dataset.validation)
        ((8, 8, 1), 1293, 145)
    """
    source = LOADERS.find(config.type, "data.type: ")(config)
    check_classes(source)
    _check_augment(config.augment, source.train.images.shape[1], source.train.images.shape[2])
    train, read_test = _with_test(source)
    train, validation = split_off(train, config.validation, seed, source.where)
    mean, std = statistics(train.images)
    return Dataset(config.type, train, validation, source.classes, mean, std, read_test)


def _with_test(source: Source) -> tuple[Split, Callable[[], Split]]:
    if source.read_test is not None:
        return source.train, source.read_test
    train, test = split_off(source.train, TEST_SHARE, TEST_SEED, source.where)
    return train, lambda: test


def _check_augment(augment: AugmentConfig, height: int, width: int) -> None:
    problems = [
        f"data.augment.{key}: {pixels} pixels, but the images are {height}x{width}; "
        f"it must be less than {min(height, width)}"
        for key, pixels in (("crop_padding", augment.crop_padding), ("cutout", augment.cutout))
        if pixels >= min(height, width)
    ]
    if problems:
        raise InputError(problems)
