"""Running sub-networks with the weights of the super-network.

Three executors, exact against each other: `sliced` compiles the sub-network's own graph; `masked`
and `switch` compile one program for all and take the architecture as data. All compile in the
static knobs (input resolution). Which of them is used where is decided here.
"""

from functools import cache, cached_property
from typing import Any, Protocol

import jax
import numpy as np
from jax import Array
from jaxtyping import Int, Int32

from kernels.inventory import in_use
from nas.supernet.masked import Images, Logits, Masked, Static
from nas.supernet.switch import Switched
from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.elastic import Elastic, cut
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import Params, Stats, apply
from search_spaces.space import Arch, Archs, SearchSpace


class ElasticExecutor(Protocol):
    """One program for every architecture with the same static knobs."""

    def rows(self, archs: Archs) -> Int32[np.ndarray, "n k"]:
        """Architectures as the program takes them."""
        ...

    def __call__(
        self, params: Params, row: Int[Array, " k"], images: Images, static: Static
    ) -> tuple[Logits, Stats]:
        """Logits of the architecture, and its batch statistics (zero where it has none)."""
        ...

    def fold(self, params: Params, row: Int[Array, " k"], static: Static, stats: Stats) -> Any:
        """A network that normalises with `stats`, for `infer`."""
        ...

    def infer(self, network: Any, row: Int[Array, " k"], images: Images, static: Static) -> Logits:
        """Logits of a network that `fold` made."""
        ...


class Executors:
    """The ways to run the sub-networks of one space.

    Args:
        space: the search space.
        blocks: its blocks, when they were worked out before.
    """

    def __init__(self, space: SearchSpace, blocks: BlockMap | None = None) -> None:
        self.space = space
        self.blocks = blocks or BlockMap(space)
        self.super_graph = cache(self._super_graph)
        self.masked = Masked(Elastic(space, self.blocks), self.super_graph)
        self.switch = Switched(self.blocks, self.super_graph)

    def sliced(
        self, params: Params, graph: Graph, images: Images, stats: Stats | None = None
    ) -> tuple[Logits, Stats]:
        """Logits of a concrete graph with its slice of `params`, and its batch statistics."""
        (image,) = graph.inputs
        (logits,), found = apply(graph, cut(params, graph), {image: images}, stats=stats)
        return logits, found

    @cached_property
    def elastic(self) -> ElasticExecutor:
        """For random sub-networks `masked`, but `switch` where that would pay full width.

        That is on a CPU without compiled kernels: there `switch` took 0.4 of the time of `masked`
        for a member of a training step. With them it takes as long, and longer to evaluate.
        """
        skips = jax.default_backend() != "cpu" or in_use("pointwise_conv").name == "cpu"
        return self.masked if skips else self.switch

    def static_options(self, arch: Arch) -> Static:
        """The options of the static knobs that an architecture chooses."""
        return tuple(self.space.knobs[i].options[arch[i]] for i in self.static_knobs)

    @property
    def static_knobs(self) -> tuple[int, ...]:
        """Indices of the static knobs."""
        return tuple(i for i, knob in enumerate(self.space.knobs) if knob.static)

    def _super_graph(self, static: Static) -> Graph:
        names = (self.space.knobs[i].name for i in self.static_knobs)
        return self.space.build(None, dict(zip(names, static, strict=True)))


def input_size(graph: Graph) -> tuple[int, int]:
    """Height and width of the image that a graph takes."""
    (image,) = graph.inputs
    height, width, _ = graph.inputs[image].shape
    return height, width
