"""Running sub-networks with the weights of the super-network.

Two executors, exact against each other: `sliced` compiles the sub-network's own graph and costs
what it costs; `masked` compiles the super-graph once and takes the architecture as data. Static
knobs (input resolution) are compiled in by both.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
from jax import Array
from jaxtyping import Float, Int, Int32

from search_spaces.ir.blocks import BlockMap
from search_spaces.ir.builder import Option
from search_spaces.ir.elastic import Elastic, cut
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import Stats, apply
from search_spaces.ir.masking import active_of, mask, switches_of
from search_spaces.ir.passes import fold_batchnorm, fold_params
from search_spaces.space import Arch, Archs, SearchSpace

Params = Mapping[str, Mapping[str, Array]]
Images = Float[Array, "n h w c"]
Logits = Float[Array, "n classes"]


class Executors:
    """The ways to run the sub-networks of one space.

    Args:
        space: the search space.
        blocks: its blocks, when they were worked out before.
    """

    def __init__(self, space: SearchSpace, blocks: BlockMap | None = None) -> None:
        self.space = space
        self.blocks = blocks or BlockMap(space)
        self.elastic = Elastic(space, self.blocks)
        self.super_graph = cache(self._super_graph)
        self._folded_graph = cache(lambda static: fold_batchnorm(self.super_graph(static)))

    def sliced(
        self, params: Params, graph: Graph, images: Images, stats: Stats | None = None
    ) -> tuple[Logits, Stats]:
        """Logits of a concrete graph with its slice of `params`, and its batch statistics."""
        (logits,), found = apply(graph, cut(params, graph), {_input(graph): images}, stats=stats)
        return logits, found

    def masked(
        self,
        params: Params,
        slots: Int[Array, " s"],
        images: Images,
        static: tuple[Option, ...],
    ) -> tuple[Logits, Stats]:
        """The same for the architecture that `slots` describes, in the super-graph.

        Args:
            params: of the super-network.
            slots: a row of `Elastic.encode`.
            images: at the resolution of `static`.
            static: options of the static knobs, compiled in.
        """
        graph = self.super_graph(static)
        (logits,), found = apply(
            graph,
            mask(self.elastic, params, slots),
            {_input(graph): images},
            switches=switches_of(self.elastic, slots),
            active=active_of(self.elastic, graph, slots),
        )
        return logits, found

    def fold(
        self, params: Params, slots: Int[Array, " s"], static: tuple[Option, ...], stats: Stats
    ) -> Params:
        """Masked parameters with batch-norm statistics worked into them, for `folded`."""
        return fold_params(self.super_graph(static), mask(self.elastic, params, slots), stats)

    def folded(
        self,
        params: Params,
        slots: Int[Array, " s"],
        images: Images,
        static: tuple[Option, ...],
    ) -> Logits:
        """Logits of `masked` from what `fold` gave: one pass over a map where it takes three."""
        graph = self._folded_graph(static)
        (logits,), _ = apply(
            graph,
            params,
            {_input(graph): images},
            switches=switches_of(self.elastic, slots),
            active=active_of(self.elastic, graph, slots),
        )
        return logits

    def slots(self, archs: Archs) -> Int32[np.ndarray, "n s"]:
        """Rows for `masked`."""
        return self.elastic.encode(archs)

    def static_options(self, arch: Arch) -> tuple[Option, ...]:
        """The options of the static knobs that an architecture chooses."""
        return tuple(self.space.knobs[i].options[arch[i]] for i in self.static_knobs)

    @property
    def static_knobs(self) -> tuple[int, ...]:
        """Indices of the static knobs."""
        return tuple(i for i, knob in enumerate(self.space.knobs) if knob.static)

    def _super_graph(self, static: tuple[Option, ...]) -> Graph:
        names = (self.space.knobs[i].name for i in self.static_knobs)
        return self.space.build(None, dict(zip(names, static, strict=True)))


def _input(graph: Graph) -> str:
    (name,) = graph.inputs
    return name


def input_size(graph: Graph) -> tuple[int, int]:
    """Height and width of the image that a graph takes."""
    height, width, _ = graph.inputs[_input(graph)].shape
    return height, width
