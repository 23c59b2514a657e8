from dataclasses import dataclass, replace
from functools import cached_property

import pytest

from search_spaces.ir.fusion import fused_activations, inverted_residuals, scaled_inputs
from search_spaces.ir.passes import fold_batchnorm
from search_spaces.registry import create
from search_spaces.space import Knob, SearchSpace


def mobilenet(squeeze_excite):
    space = create(
        "mobilenet_v3",
        resolution=(8,),
        channels=1,
        classes=4,
        stem=8,
        widths=(8, 16),
        strides=(1, 2),
        hswish=(False, True),
        squeeze_excite=(squeeze_excite,) * 2,
        depth=(2,),
        kernel=(3,),
        expand=(2,),
        head=(16, 16),
    )
    return space.build(space.largest())


def blocks_of(graph):
    return {id(block): block for block in inverted_residuals(graph).values()}.values()


@pytest.mark.parametrize("squeeze_excite", [False, True])
def test_every_block_of_a_folded_mobilenet_is_one(squeeze_excite):
    blocks = [*blocks_of(fold_batchnorm(mobilenet(squeeze_excite)))]
    assert [block.project.name.rpartition("/")[0] for block in blocks] == [
        "stem",
        "s0/b0",
        "s0/b1",
        "s1/b0",
        "s1/b1",
    ]
    assert [block.expand is None for block in blocks] == [True, False, False, False, False]
    assert [block.add is None for block in blocks] == [False, False, False, True, False]
    assert [block.activation for block in blocks] == ["relu"] * 3 + ["hswish"] * 2
    excited = [block.squeeze_excite is not None for block in blocks]
    assert excited == [False] + [squeeze_excite] * 4


def test_none_before_batch_norm_is_folded():
    assert not inverted_residuals(mobilenet(False))
    assert not inverted_residuals(mobilenet(True))


def test_a_projection_multiplies_as_it_reads():
    found = scaled_inputs(mobilenet(True))
    assert next((name, scaled.inputs) for name, scaled in found.items()) == (
        "s0/b0/project",
        ("s0/b0/depthwise_act", "s0/b0/se/hsigmoid"),
    )
    assert len(found) == 4
    assert not scaled_inputs(mobilenet(False))


@dataclass(frozen=True)
class _Block(SearchSpace):
    """One block, and something that reads inside it or activates otherwise."""

    kind: str
    name = "block"
    version = 1

    @cached_property
    def knobs(self):
        return (Knob("size", (4,), static=True),)

    def define(self, b):
        size = int(b.pick("size"))
        x = b.input("image", (size, size, 8))
        with b.block("only"):
            y = b.activation(
                "first", b.pointwise("expand", x, 16, bias=self.kind != "bare"), "relu"
            )
            z = b.depthwise("depthwise", y, 3, bias=True)
            z = b.activation("second", z, "hswish" if self.kind == "mixed" else "relu")
            z = b.add("peek", y, z) if self.kind == "peek" else z
            z = self._excited(b, y, z) if self.kind.startswith("se") else z
            z = b.pointwise("project", z, 8, bias=True)
            z = b.activation("third", z, "relu") if self.kind == "activated" else z
            return b.add("add", x, z)

    def _excited(self, b, y, z):
        """With means of another map, with another gate, with a gate that is read twice."""
        pooled = b.node("pool", "global_pool", (y if self.kind == "se_other" else z,))
        h = b.activation("relu", b.pointwise("squeeze", pooled, 8, bias=True), "relu")
        gate = "sigmoid" if self.kind == "se_gate" else "hsigmoid"
        h = b.activation("gate", b.pointwise("excite", h, 16, bias=True), gate)
        out = b.node("mul", "mul", (z, h))
        return b.node("again", "mul", (out, h)) if self.kind == "se_twice" else out


@pytest.mark.parametrize(
    "kind", ["peek", "mixed", "activated", "bare", "se_other", "se_gate", "se_twice"]
)
def test_what_only_looks_like_one_is_left_alone(kind):
    space = _Block(kind)
    assert not inverted_residuals(space.build(space.largest()))


def test_a_plain_one_is_found_with_all_its_nodes():
    graph = _Block("plain").build(_Block("plain").largest())
    found = inverted_residuals(graph)
    assert set(found) == {node.name for node in graph.nodes}
    [block] = {id(block): block for block in found.values()}.values()
    assert block.input == "image"
    assert block.output.name == "only/add"


def test_one_whose_inside_is_an_output_is_left_alone():
    graph = _Block("plain").build(_Block("plain").largest())
    assert not inverted_residuals(replace(graph, outputs=("only/add", "only/second")))
    assert inverted_residuals(replace(graph, outputs=("only/add",)))


def test_an_activation_with_other_readers_beside_it_is_not_fused():
    graph = _Block("peek").build(_Block("peek").largest())
    assert {name: node.name for name, node in fused_activations(graph).items()} == {
        "only/expand": "only/first",
        "only/depthwise": "only/second",
    }
