from dataclasses import dataclass
from functools import cached_property

import pytest

from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.elastic import Elastic
from search_spaces.ir.ops import GraphError
from search_spaces.space import Knob, SearchSpace


@dataclass(frozen=True)
class _Space(SearchSpace):
    """Draws a convolution for all choices, for some, or in a branch of its own."""

    kind: str
    name = "drawn"
    version = 1

    @cached_property
    def knobs(self):
        if self.kind == "branch":
            return (Knob("op", ("keep", "mix"), ordered=False),)
        return (Knob("expand", (1, 2)),)

    def define(self, b):
        x = b.input("image", (4, 4, 8))
        with b.block("only"):
            if self.kind == "branch":
                keep = lambda x: b.node("keep", "identity", (x,))  # noqa: E731
                return b.branch("op", {"keep": keep, "mix": lambda x: b.pointwise("mix", x, 8)}, x)
            expand = int(b.pick("expand"))
            if expand > 1 or self.kind == "always":
                x = b.pointwise("expand", x, 8 * expand)
            return b.pointwise("project", x, 8)


def elastic(kind):
    return Elastic(_Space(kind), BlockMap(_Space(kind)))


def test_a_node_drawn_for_some_choices_only_is_refused():
    message = r"^only/expand: drawn for some choices only; draw it for all, or inside a branch"
    with pytest.raises(GraphError, match=message):
        elastic("some")


@pytest.mark.parametrize("kind", ["always", "branch"])
def test_for_all_or_in_a_branch_it_may_stand(kind):
    assert len(elastic(kind).encode(_Space(kind).largest()[None])) == 1
