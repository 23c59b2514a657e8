"""The masked executor: one program of the super-graph, with the architecture as data.

Parameters outside an architecture's slice are zero, and our kernels are told which sizes live, so
on a CPU with compiled kernels dead channels and absent blocks cost next to nothing. `jax.vmap` over
the architecture evaluates many at once.
"""

from collections.abc import Callable
from functools import cache

from jax import Array
from jaxtyping import Float, Int

from search_spaces.ir.builder import Option
from search_spaces.ir.elastic import Elastic
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import Params, Stats, apply
from search_spaces.ir.masking import active_of, mask, switches_of
from search_spaces.ir.passes import fold_batchnorm, fold_params

Images = Float[Array, "n h w c"]
Logits = Float[Array, "n classes"]
Static = tuple[Option, ...]


class Masked:
    """An `ElasticExecutor` whose rows are those of `Elastic.encode`.

    Args:
        elastic: of the space.
        super_graph: for options of the static knobs.
    """

    def __init__(self, elastic: Elastic, super_graph: Callable[[Static], Graph]) -> None:
        self.elastic = elastic
        self.rows = elastic.encode
        self._super_graph = super_graph
        self._folded = cache(lambda static: fold_batchnorm(super_graph(static)))

    def __call__(
        self, params: Params, row: Int[Array, " s"], images: Images, static: Static
    ) -> tuple[Logits, Stats]:
        """Logits, and batch statistics."""
        graph = self._super_graph(static)
        return self._apply(graph, mask(self.elastic, params, row), row, images)

    def fold(self, params: Params, row: Int[Array, " s"], static: Static, stats: Stats) -> Params:
        """Masked parameters with batch-norm statistics worked into them."""
        return fold_params(self._super_graph(static), mask(self.elastic, params, row), stats)

    def infer(
        self, network: Params, row: Int[Array, " s"], images: Images, static: Static
    ) -> Logits:
        """Logits from what `fold` gave: one pass over a map where training takes three."""
        return self._apply(self._folded(static), network, row, images)[0]

    def _apply(
        self, graph: Graph, params: Params, row: Int[Array, " s"], images: Images
    ) -> tuple[Logits, Stats]:
        (image,) = graph.inputs
        (logits,), stats = apply(
            graph,
            params,
            {image: images},
            switches=switches_of(self.elastic, row),
            active=active_of(self.elastic, graph, row),
        )
        return logits, stats
