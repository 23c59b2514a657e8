"""Every space passes the suite that spaces inherit."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

from nas.testing.space_suite import SpaceSuite
from search_spaces import registry
from search_spaces.registry import create
from search_spaces.space import Knob, SearchSpace


class TestMobileNetV3(SpaceSuite):
    space = create(
        "mobilenet_v3",
        resolution=(6, 8),
        channels=1,
        classes=10,
        stem=8,
        stem_stride=1,
        widths=(16, 24),
        strides=(1, 2),
        hswish=(False, True),
        squeeze_excite=(False, True),
        depth=(1, 2),
        kernel=(3, 5),
        expand=(1, 3),
        head=(32, 40),
    )


class TestMcuNet(SpaceSuite):
    space = create(
        "mcunet",
        resolution=(8,),
        channels=1,
        classes=4,
        stem=16,
        stem_stride=1,
        widths=(16,),
        strides=(2,),
        width=(0.5, 1),
        depth=(1, 2),
        kernel=(3, 5),
        expand=(2, 3),
        patches=(1, 2),
        patched_stages=(0, 1),
    )


@pytest.mark.exhaustive
class TestKeywordSpotting(SpaceSuite):
    space = create(
        "keyword_spotting",
        frames=9,
        mels=6,
        classes=3,
        width=(5, 8),
        stem_kernel=(3, 5),
        stem_stride=1,
        stride=(1, 2),
        depth=(1, 2),
        kernel=(1, 3),
    )


@pytest.mark.exhaustive
class TestNasBenchMacro(SpaceSuite):
    space = create(
        "nasbench_macro",
        resolution=(8, 9),
        stem=4,
        widths=(8,),
        strides=(2,),
        layers=(3,),
        head=16,
    )


@pytest.mark.exhaustive
class TestNasBench201(SpaceSuite):
    space = create("nasbench201", resolution=(8,), widths=(4, 8), cells=1, nodes=3)


@pytest.mark.exhaustive
class TestResNet(SpaceSuite):
    space = create(
        "resnet",
        resolution=(6,),
        channels=1,
        classes=10,
        stem=32,
        stem_strides=(1, 2),
        widths=(16, 32),
        strides=(1, 2),
        base_depth=(1, 1),
        depth=(0, 1),
        expand=(1, 2),
        width=(0.5, 1),
    )


@dataclass(frozen=True)
class Everything(SearchSpace):
    """Uses each op and verb once, with elastic widths that reach later blocks, to test them all."""

    name = "everything"
    version = 1

    @cached_property
    def knobs(self):
        return (
            Knob("size", (9, 12), static=True),
            Knob("width", (5, 8)),
            Knob("op", ("max", "avg", "conv"), ordered=False),
            Knob("kernel", (1, 3)),
            Knob("depth", (0, 2)),
            Knob("hidden", (3, 7)),
        )

    def define(self, b):
        size = int(b.pick("size"))
        x = b.input("image", (size, size, 2))
        with b.scope("front"):
            width = int(b.pick("width"))
            with b.block("stem"):
                x = b.node("pad", "pad", (x,), top=1, bottom=0, left=2, right=1)
                x = b.activation("gelu", b.batch_norm("bn", b.conv("conv", x, width, 3, 2)), "gelu")
            with b.block("choice"):
                window = {"kernel": 3, "stride": 2, "padding": 1}
                draw = {
                    "max": lambda x: b.node("pool", "max_pool", (x,), **window),
                    "avg": lambda x: b.node("pool", "avg_pool", (x,), **window),
                    "conv": lambda x: b.depthwise("dw", x, int(b.pick("kernel")), 2),
                }
                x = b.branch("op", draw, x)
                x = b.activation("relu6", x, "relu6")
        x = b.repeat("depth", x, lambda x, _: self._residual(b, x))
        with b.block("head"):
            x = b.node("keep", "identity", (b.squeeze_excite(x, 3),))
            x = b.activation("sigmoid", b.pointwise("mix", x, 6), "sigmoid")
            x = b.node("pool", "global_pool", (x,))
            x = b.activation("hswish", b.node("flat", "reshape", (x,), shape=(6,)), "hswish")
            return b.node("softmax", "softmax", (b.dense("logits", x, 4),))

    @staticmethod
    def _residual(b, x):
        y = b.pointwise("reduce", x, 4)
        y = b.activation("relu", y, "relu")
        return b.add("add", x, b.pointwise("expand", y, b.channels(x)))


class _Hidden(Everything):
    """Its residual blocks have an elastic inside too."""

    def _residual(self, b, x):  # pyright: ignore[reportIncompatibleMethodOverride]
        y = b.batch_norm("bn", b.pointwise("reduce", x, int(b.pick("hidden"))))
        y = b.activation("relu", y, "relu")
        return b.add("add", x, b.pointwise("expand", y, b.channels(x)))


class TestEverything(SpaceSuite):
    space = _Hidden()


def test_every_registered_space_is_tested():
    tested = {suite.space.name for suite in SpaceSuite.__subclasses__()}
    # tests/search_spaces/test_choices.py has those of the one without networks.
    assert set(registry.names()) - {"choices"} <= tested


def test_what_is_read_is_the_same_without_a_table_of_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, none = create("mobilenet_v3"), create("mobilenet_v3")
    archs = np.random.default_rng(0).integers(0, table.cardinality[None], (200, len(table.knobs)))
    looked_up = table.active(archs)
    monkeypatch.setattr("search_spaces.space._MOST_SETTINGS", 0)
    assert none._looked_up is None
    assert np.array_equal(none.active(archs), looked_up)
    assert 0 < looked_up.sum() < looked_up.size
