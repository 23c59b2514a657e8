"""ResNet against the published counts of ResNets, a formula of its own, and its parameters."""

from itertools import pairwise

import numpy as np
import pytest

from search_spaces.errors import InputError
from search_spaces.ir.count import count
from search_spaces.registry import create

# Blocks of each stage; parameters and thousand million MACs at 224x224 that torchvision publishes
# for the networks with a plain stem.
_PUBLISHED = [
    ((3, 4, 6, 3), 25_557_032, 4.089),
    ((3, 4, 23, 3), 44_549_160, 7.801),
    ((3, 8, 36, 3), 60_192_808, 11.514),
]
# A 7x7 convolution from 3 to 64 channels, stride 2, and its batch norm: the plain stem. In its
# place ResNet-D has 3x3 convolutions from 3 to 32, 32 to 32 and 32 to 64 channels, the stride in
# the first one. Nothing else that ResNet-D changes has weights of another size.
_PLAIN_STEM = (7 * 7 * 3 * 64, 64)
_DEEP_STEM = (9 * (3 * 32 + 32 * 32 + 32 * 64), 32 + 32 + 64)
_STEM_POSITIONS = 112 * 112


@pytest.mark.parametrize(("depths", "params", "giga_macs"), _PUBLISHED)
def test_counts_equal_the_published_ones_but_for_the_stem(depths, params, giga_macs):
    space = create("resnet", base_depth=depths, depth=(0,), expand=(0.25,), width=(1.0,))
    found = count(space.build(space.largest()))
    more_weights = _DEEP_STEM[0] - _PLAIN_STEM[0]
    more_channels = _DEEP_STEM[1] - _PLAIN_STEM[1]
    assert found.params == params + more_weights + 2 * more_channels
    plain_macs = found.macs - _STEM_POSITIONS * more_weights
    assert round(plain_macs / 1e9, 3) == giga_macs


def test_resnet_50_d_is_an_architecture_of_the_default_space():
    """25.58 million parameters, as `resnet50d` of timm."""
    space = create("resnet")
    choices = {"resolution": 224, "stem.mid": 32, "stem.depth": 1, "stem.width": 64}
    for s, (depth, features) in enumerate(zip((3, 4, 6, 3), (256, 512, 1024, 2048), strict=True)):
        choices |= {f"s{s}.width": features, f"s{s}.depth": depth}
        choices |= {f"s{s}.b{i}.expand": 0.25 for i in range(depth)}
    found = count(space.build(space.encode(choices)))
    assert round(found.params / 1e6, 2) == 25.58


def by_hand(choices, classes):
    """MACs and parameters, from the lists of convolutions that the paper's figures show."""
    side = choices["resolution"] // 2
    mid, out = choices["stem.mid"], choices["stem.width"]
    chain = [3, *[mid] * (1 + choices["stem.depth"]), out]
    convs = [(side, 9, a, b) for a, b in pairwise(chain)]
    side //= 2
    for s in range(4):
        before, side = side, side if s == 0 else -(-side // 2)
        width = choices[f"s{s}.width"]
        convs.append((side, 1, out, width))
        for i in range(choices[f"s{s}.depth"]):
            inner = width * choices[f"s{s}.b{i}.expand"]
            inner = int(inner / 8 + 0.5) * 8
            entry = before if i == 0 else side
            convs += [(entry, 1, out, inner), (side, 9, inner, inner), (side, 1, inner, width)]
            out = width
    macs = sum(side**2 * k * a * b for side, k, a, b in convs) + out * classes
    return macs, sum(k * a * b + 2 * b for _, k, a, b in convs) + (out + 1) * classes


def test_counts_of_any_architecture_equal_those_by_hand():
    # At 144 the last stage downsamples maps of 9x9: sizes are rounded up.
    space = create("resnet", resolution=(128, 144, 224), classes=100)
    for arch in space.sample(np.random.default_rng(0), 20):
        found = count(space.build(arch))
        assert (found.macs, found.params) == by_hand(space.decode(arch), 100)


def test_options_are_those_of_once_for_all():
    """0.65, 0.8 and 1.0 of 64 are 40, 48 and 64; halved and rounded, the first two are both 24."""
    options = {knob.name: knob.options for knob in create("resnet").knobs}
    assert options["stem.width"] == (40, 48, 64)
    assert options["stem.mid"] == (24, 32)
    assert [options[f"s{s}.width"] for s in range(4)] == [
        (168, 208, 256),
        (336, 408, 512),
        (664, 816, 1024),
        (1328, 1640, 2048),
    ]
    assert [options[f"s{s}.depth"] for s in range(4)] == [
        (2, 3, 4),
        (2, 3, 4),
        (4, 5, 6),
        (2, 3, 4),
    ]


def test_size_is_exact():
    stage = 3 * (3**2 + 3**3 + 3**4)
    third = 3 * (3**4 + 3**5 + 3**6)
    stem = 2 * 2 * 3
    assert create("resnet", resolution=(128, 224)).size() == 2 * stem * stage**3 * third


def test_small_images_need_no_stride_in_the_stem():
    space = create("resnet", resolution=(28, 32), channels=1, classes=10, stem_strides=(1, 1))
    graph = space.build(space.largest())
    assert graph.type_of("stem/out/conv").shape == (32, 32, 64)
    assert graph.type_of("s3/b0/act").shape == (4, 4, 2048)
    assert "max_pool" not in {node.op for node in graph.nodes}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"strides": (1, 2)}, "strides: needs one entry for each of the 4 widths"),
        ({"strides": (1, 2, 3, 2)}, "strides: must be 1 or 2, got [1, 2, 3, 2]"),
        (
            {"base_depth": (2, 2, 0, 2)},
            "depth: a stage has at least 1 block, its first one downsamples",
        ),
        ({"width": (0, 1)}, "width: needs positive numbers, got [0.0, 1.0]"),
        ({"stem_depth": (-1, 1)}, "stem_depth: can't be negative, got [-1, 1]"),
        (
            {"widths": (32, 512, 1024, 2048)},
            "expand: two of [0.2, 0.25, 0.35] give blocks of 24 channels equal inner channels "
            "(multiples of 8): leave one out",
        ),
        (
            {"expand": (0.35, 0.2)},
            "s0.b0.expand: options (0.35, 0.2) must ascend: write them in order",
        ),
        ({"widht": (1.0,)}, "widht: unknown key 'widht'; did you mean 'width'?"),
    ],
)
def test_wrong_parameters_are_one_clear_line(parameters, message):
    with pytest.raises(InputError) as caught:
        create("resnet", **parameters).knobs  # noqa: B018
    assert caught.value.problems == [message]
