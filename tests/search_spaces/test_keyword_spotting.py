"""DS-CNN against a formula of its own, and its parameters."""

import numpy as np
import pytest

from search_spaces.errors import InputError
from search_spaces.ir.count import count
from search_spaces.registry import create


def by_hand(choices, frames, mels, classes):
    """MACs and parameters (weights and two of each batch norm)."""
    width = choices["width"]
    pixels = -(-frames // 2) * -(-mels // 2)
    weights = [choices["stem.kernel"] ** 2 * width]
    macs = pixels * weights[0]
    frames, mels = -(-frames // 2), -(-mels // 2)
    pixels = -(-frames // choices["stride"]) * -(-mels // choices["stride"])
    for i in range(choices["depth"]):
        weights += [choices[f"b{i}.kernel"] ** 2 * width, width**2]
        macs += pixels * sum(weights[-2:])
    params = sum(weights) + 2 * width * len(weights) + (width + 1) * classes
    return macs + width * classes, params


def test_counts_of_any_architecture_equal_those_by_hand():
    space = create("keyword_spotting")
    for arch in space.sample(np.random.default_rng(0), 30):
        found = count(space.build(arch))
        assert (found.macs, found.params) == by_hand(space.decode(arch), 49, 40, 12)


def test_a_small_network_of_the_paper_is_about_as_large():
    """DS-CNN S has 64 channels, 4 blocks, 24 kB of 8-bit weights (table 5; its stem is 10x4)."""
    space = create("keyword_spotting", mels=10)
    choices = {"stride": 1, "width": 64, "stem.kernel": 7, "depth": 4}
    choices |= {f"b{i}.kernel": 3 for i in range(4)}
    assert count(space.build(space.encode(choices))).params == pytest.approx(24_000, rel=0.05)


def test_size_is_exact():
    assert create("keyword_spotting").size() == 2 * 5 * 3 * (2**2 + 2**3 + 2**4 + 2**5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": (3, 4)}, "kernel: sizes must be odd, got [3, 4]"),
        ({"depth": (0, 2)}, "depth: needs positive numbers, got [0, 2]"),
        (
            {"classes": 1},
            "frames, mels, channels and stem_stride must be positive, classes >= 2",
        ),
        ({"mel": 10}, "mel: unknown key 'mel'; did you mean 'mels'?"),
    ],
)
def test_wrong_parameters_are_one_clear_line(parameters, message):
    with pytest.raises(InputError) as caught:
        create("keyword_spotting", **parameters)
    assert caught.value.problems == [message]
