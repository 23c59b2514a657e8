"""MCUNet against a formula of its own, and its parameters."""

import numpy as np
import pytest

from search_spaces.errors import InputError
from search_spaces.ir.count import count
from search_spaces.ir.patches import Patches
from search_spaces.mcunet import McuNet
from search_spaces.registry import create


def eights(channels):
    """The nearest multiple of 8, at least 8 and never more than 10 % below."""
    rounded = max(8, int(channels / 8 + 0.5) * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def by_hand(choices, strides, classes):
    """MACs and parameters (weights and two of each batch norm) of all convolutions."""
    side, width = choices["resolution"] // 2, choices["stem.width"]
    narrow = eights(width / 2)
    # Pixels of the result, weights for each of them, channels of the result.
    convs = [(side, 27 * width, width), (side, 9 * width, width), (side, width * narrow, narrow)]
    for s, stride in enumerate(strides):
        out = choices[f"s{s}.width"]
        for i in range(choices[f"s{s}.depth"]):
            wide = eights(narrow * choices[f"s{s}.b{i}.expand"])
            convs.append((side, narrow * wide, wide))
            side = side if i else -(-side // stride)
            convs.append((side, choices[f"s{s}.b{i}.kernel"] ** 2 * wide, wide))
            convs.append((side, wide * out, out))
            narrow = out
    macs = sum(side**2 * weights for side, weights, _ in convs) + narrow * classes
    return macs, sum(w + 2 * out for _, w, out in convs) + (narrow + 1) * classes


def test_counts_of_any_architecture_equal_those_by_hand():
    space = McuNet(classes=7)
    for arch in space.sample(np.random.default_rng(0), 8):
        found = count(space.build(arch))
        assert (found.macs, found.params) == by_hand(space.decode(arch), space.strides, 7)


def test_widths_go_down_to_8_and_nothing_keeps_a_network_from_8_bits():
    space = create("mcunet")
    options = {knob.name: knob.options for knob in space.knobs}
    assert options["stem.width"] == (8, 16, 24, 32)
    assert options["s0.width"] == (8, 16, 24)
    ops = {node.op for node in space.build(space.largest()).nodes}
    assert ops == {
        *("conv", "depthwise", "pointwise", "dense"),
        *("batch_norm", "relu6", "add", "global_pool", "reshape"),
    }


def test_size_is_exact():
    space = create("mcunet", resolution=(96, 128), widths=(24, 40), strides=(2, 2), depth=(1, 2))
    stage = 9 + 9**2
    assert space.size() == 2 * 4 * (3 * stage) * (4 * stage)


def test_patches_are_a_choice_of_how_to_run_and_not_of_what_to_compute():
    parameters = {"resolution": (16,), "widths": (8, 16), "strides": (2, 2), "depth": (1, 2)}
    plain = create("mcunet", **parameters)
    space = create("mcunet", **parameters, patches=(1, 2, 3), patched_stages=(0, 1))
    # How deep matters where there are patches only.
    assert space.size() == plain.size() * (1 + 2 * 2)
    choices = {**plain.decode(plain.largest()), "patches": 3, "patched_stages": 1}
    arch = space.encode(choices)
    assert space.build(arch).patches == Patches(3, "s0/b1")
    assert space.build(space.encode({**choices, "s0.depth": 1})).patches == Patches(3, "s0/b0")
    stem = space.encode({**choices, "patched_stages": 0})
    assert space.build(stem).patches == Patches(3, "stem")
    whole = space.computed(arch[None])[0]
    assert np.array_equal(whole, space.encode({**choices, "patches": 1}))
    assert space.build(whole) == plain.build(plain.largest())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"strides": (1, 2)}, "strides: needs one entry for each of the 5 widths"),
        ({"kernel": (3, 4)}, "kernel: sizes must be odd, got [3, 4]"),
        ({"depth": (0, 2)}, "depth: a stage has at least 1 block, its first one downsamples"),
        ({"width": (0, 1)}, "width: needs positive numbers, got [0.0, 1.0]"),
        (
            {"expand": (3, 3.2)},
            "expand: two of [3.0, 3.2] give blocks of 8 channels equal expanded channels "
            "(multiples of 8): leave one out",
        ),
        (
            {"patched_stages": (6,)},
            "patched_stages: [6] must be some of 0 (the stem) to 5",
        ),
        ({"patches": (0, 2)}, "patches: needs positive numbers, got [0, 2]"),
        ({"widht": (1.0,)}, "widht: unknown key 'widht'; did you mean 'width'?"),
    ],
)
def test_wrong_parameters_are_one_clear_line(parameters, message):
    with pytest.raises(InputError) as caught:
        create("mcunet", **parameters)
    assert caught.value.problems == [message]
