"""The switch executor: one program in which each block runs the branch that an architecture takes.

A branch computes with sizes that are known when it is compiled, so a sub-network costs what it
costs whatever the back end can skip. Plain differentiation of `lax.switch` would keep what every
branch needs for its gradient; here the backward pass switches again, and computes the block anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int

from nas.supernet.masked import Images, Logits, Static
from search_spaces.ir.blocks import BlockMap, split_blocks
from search_spaces.ir.elastic import cut
from search_spaces.ir.graph import Graph
from search_spaces.ir.interpret import Params, Stats, apply

Outputs = tuple[tuple[Array, ...], Stats]
Run = Callable[[Array, Params, tuple[Array, ...], Stats | None], Outputs]
Branch = Callable[[Params, tuple[Array, ...], Stats | None], Outputs]


@dataclass(frozen=True)
class Position:
    """A position of the super-graph.

    Args:
        name: of the block.
        graph: the super-graph's nodes in it, named without the block.
        reads: the super-graph's tensors that it reads, in the order of `graph.inputs`.
        run: of what can stand there.
    """

    name: str
    graph: Graph
    reads: tuple[str, ...]
    run: "Run"


@dataclass(frozen=True)
class Branches:
    """What can stand at a position; the same object where the same can, so it is traced once.

    Args:
        graphs: the distinct graphs.
        channels: of each output in the super-graph.
        norms: channels of each batch norm in the super-graph.
        optional: whether the block may be absent and give back its input; allowed wherever the
            types are equal, so that more positions have the same branches.
    """

    graphs: tuple[Graph, ...]
    channels: tuple[int, ...]
    norms: tuple[tuple[str, int], ...]
    optional: bool

    def key(self) -> tuple[Any, ...]:
        """Equal for equal branches."""
        digests = tuple(graph.digest() for graph in self.graphs)
        return digests, self.channels, self.norms, self.optional

    def run(self) -> "Run":
        """The branch of a number, with its gradients: see the module."""
        branches: list[Branch] = [self._branch(graph) for graph in self.graphs]
        if self.optional:
            branches.append(self._absent)
        if len(branches) == 1:
            return lambda _, params, xs, stats: branches[0](params, xs, stats)

        def call(number: Array, params: Params, xs: tuple[Array, ...], stats: Any) -> Outputs:
            return lax.switch(number, branches, params, xs, stats)

        def forward(number: Array, params: Params, xs: tuple[Array, ...], stats: Any) -> Any:
            return call(number, params, xs, stats), (number, params, xs, stats)

        def backward(saved: Any, g: Outputs) -> tuple[None, Any, Any, Any]:
            number, *inputs = saved
            pulls = [lambda *args, run=run: jax.vjp(run, *args[:3])[1](args[3]) for run in branches]
            return None, *lax.switch(number, pulls, *inputs, g)

        run = jax.custom_vjp(call)
        run.defvjp(forward, backward)
        return jax.jit(run)

    def _branch(self, unit: Graph) -> Branch:
        def run(params: Params, xs: tuple[Array, ...], stats: Stats | None) -> Outputs:
            kinds = unit.inputs.values()
            inputs = dict(
                zip(
                    unit.inputs,
                    (x[..., : k.shape[-1]] for x, k in zip(xs, kinds, strict=True)),
                    strict=True,
                )
            )
            own = None
            if stats is not None:
                norms = [node for node in unit.nodes if node.op == "batch_norm"]
                own = {
                    n.name: {k: v[: n.out.shape[-1]] for k, v in stats[n.name].items()}
                    for n in norms
                }
            outs, found = apply(unit, cut(params, unit), inputs, stats=own)
            outs = tuple(_pad(x, size) for x, size in zip(outs, self.channels, strict=True))
            return outs, self._whole(found if stats is None else {}, stats)

        return run

    def _absent(self, params: Params, xs: tuple[Array, ...], stats: Stats | None) -> Outputs:
        del params
        return xs[:1], self._whole({}, stats)

    def _whole(self, found: Stats, given: Stats | None) -> Stats:
        """Statistics of every batch norm of the super-graph, zero where there is none."""
        if given is not None:
            return {}
        zeros = {"mean": jnp.zeros(0, jnp.float32), "var": jnp.zeros(0, jnp.float32)}
        return {
            name: {k: _pad(v, size) for k, v in found.get(name, zeros).items()}
            for name, size in self.norms
        }


class Switched:
    """An `ElasticExecutor` whose rows are those of `BlockMap.index`.

    Args:
        blocks: of the space.
        super_graph: for options of the static knobs.
    """

    def __init__(self, blocks: BlockMap, super_graph: Callable[[Static], Graph]) -> None:
        self.rows = blocks.index
        self._blocks = blocks
        self._super_graph = super_graph
        self._positions = cache(self._make_positions)
        self._runs: dict[tuple[Any, ...], Run] = {}

    def __call__(
        self, params: Params, row: Int[Array, " b"], images: Images, static: Static
    ) -> tuple[Logits, Stats]:
        """Logits, and batch statistics."""
        return self._run(params, row, images, static, None)

    def fold(
        self, params: Params, row: Int[Array, " b"], static: Static, stats: Stats
    ) -> tuple[Params, Stats]:
        """What `infer` needs; nothing is computed before a branch is taken."""
        del row, static
        return params, stats

    def infer(
        self, network: tuple[Params, Stats], row: Int[Array, " b"], images: Images, static: Static
    ) -> Logits:
        """Logits with the statistics that `fold` was given."""
        params, stats = network
        return self._run(params, row, images, static, stats)[0]

    def _run(
        self,
        params: Params,
        row: Int[Array, " b"],
        images: Images,
        static: Static,
        stats: Stats | None,
    ) -> tuple[Logits, Stats]:
        positions, table = self._positions(static)
        numbers = jnp.asarray(table)[jnp.arange(len(positions)), row]
        graph = self._super_graph(static)
        (image,), (logits,) = graph.inputs, graph.outputs
        values: dict[str, Array] = {image: images}
        found: Stats = {}
        for i, block in enumerate(positions):
            prefix = f"{block.name}/"
            own = {n.name: params[prefix + n.name] for n in block.graph.nodes if n.params}
            norms = [n.name for n in block.graph.nodes if n.op == "batch_norm"]
            given = None if stats is None else {n: stats[prefix + n] for n in norms}
            xs = tuple(values[name] for name in block.reads)
            outs, moments = block.run(numbers[i], own, xs, given)
            values |= {prefix + n: x for n, x in zip(block.graph.outputs, outs, strict=True)}
            found |= {prefix + name: value for name, value in moments.items()}
        return values[logits], found

    def _make_positions(
        self, static: Static
    ) -> tuple[tuple[Position, ...], Int[np.ndarray, "b units"]]:
        """The blocks, and the branch of each unit there; the last entry, of -1, is its absence."""
        graph, space = self._super_graph(static), self._blocks.space
        fixed = iter(static)
        chosen = {
            i: knob.options.index(next(fixed)) for i, knob in enumerate(space.knobs) if knob.static
        }
        parts = split_blocks(graph)
        table = np.zeros((len(parts), len(self._blocks.units) + 1), np.int32)
        positions = []
        for slot, row in zip(self._blocks.slots, table, strict=True):
            options = slot.units.reshape([int(space.cardinality[k]) for k in slot.knobs])
            units = np.unique(options[tuple(chosen.get(k, slice(None)) for k in slot.knobs)])
            row[units] = np.arange(len(units))
            row[-1] = len(units)
            graphs = tuple(self._blocks.units[unit] for unit in units)
            part = parts[slot.name]
            branches = _branches(part, graphs)
            run = self._runs.setdefault(branches.key(), branches.run())
            positions.append(Position(slot.name, part, _reads(graph, slot.name, part), run))
        return tuple(positions), table


def _branches(part: Graph, graphs: tuple[Graph, ...]) -> Branches:
    channels = tuple(part.type_of(name).shape[-1] for name in part.outputs)
    norms = tuple((n.name, n.out.shape[-1]) for n in part.nodes if n.op == "batch_norm")
    kinds = [part.type_of(name) for name in part.outputs]
    return Branches(graphs, channels, norms, [*part.inputs.values()] == kinds)


def _reads(super_graph: Graph, block: str, part: Graph) -> tuple[str, ...]:
    """Tensors from outside, in the order in which `split_blocks` numbers them."""
    inside = {f"{block}/{node.name}" for node in part.nodes}
    nodes = (node for node in super_graph.nodes if node.name in inside)
    read = (name for node in nodes for name in node.inputs if name not in inside)
    return tuple(dict.fromkeys(read))


def _pad(x: Array, size: int) -> Array:
    """Zeros behind the last axis."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])])
