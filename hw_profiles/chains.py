"""Small networks around a block, from which the block's cost inside a network follows.

A block run alone lies: it pays layout changes at its borders that a network does not, and misses
fusions with its neighbours. So it is measured between a `pre` (1x1 convolution from a thin input)
and a `post` (global pool), and what they cost is taken off:

- a block that can follow itself (same type in and out): the slope between one and four of them,
  with weights of their own;
- any other: `pre + block + post` minus half of `pre + post` at each type it reads and makes.

In the second rule a block is charged half of (pre - post) of the type it reads and credited the
same for the type it makes, so these terms cancel along a network: nothing is left over in a sum.
The network's own input and output have no `pre` and no `post`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hw_profiles.worklist import Unit
from search_spaces.ir.graph import Attr, Graph, Node, TensorType
from search_spaces.ir.ops import make_node
from search_spaces.ir.passes import fold_batchnorm

SHORT, LONG = 1, 4
# Channels of the input before `pre`: as an image's, which runtimes read without a layout change.
_THIN = 3
_SMALLEST = TensorType((1, 1, 8))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and how the units' costs follow.

    Args:
        models: networks to time, by their digest, without batch norm.
        recipes: per unit key, the models and their factors: the cost is the weighted sum.
    """

    models: Mapping[str, Graph]
    recipes: Mapping[str, Mapping[str, float]]

    def cost(self, key: str, values: Mapping[str, float]) -> float:
        """A unit's cost from those of the models."""
        return sum(values[model] * factor for model, factor in self.recipes[key].items())


def alone(units: Sequence[Unit]) -> Plan:
    """Each unit by itself: right where a network's cost is that of its kernels, one by one."""
    digests = {unit.key: unit.graph.digest() for unit in units}
    models = {digests[unit.key]: unit.graph for unit in units}
    return Plan(models, {key: {digest: 1.0} for key, digest in digests.items()})


def plan(units: Sequence[Unit]) -> Plan:
    """The models that the units need; those that several units share are listed once."""
    models: dict[str, Graph] = {}
    recipes: dict[str, dict[str, float]] = {}
    for unit in units:
        recipe: dict[str, float] = {}
        for model, factor in _terms(unit):
            digest = model.digest()
            models.setdefault(digest, model)
            recipe[digest] = recipe.get(digest, 0.0) + factor
        recipes[unit.key] = recipe
    return Plan(models, recipes)


def _terms(unit: Unit) -> list[tuple[Graph, float]]:
    graph = fold_batchnorm(unit.graph)
    if _chainable(unit):
        slope = 1 / (LONG - SHORT)
        return [(chain(graph, LONG), slope), (chain(graph, SHORT), -slope)]
    terms = [(chain(graph, 1, unit.raw, unit.final), 1.0)]
    borders = [kind for name, kind in graph.inputs.items() if name not in unit.raw]
    borders += [] if unit.final else [graph.type_of(name) for name in graph.outputs]
    terms += [(_border(kind), -0.5) for kind in borders]
    # Every model also holds the cost of a call. With one input and one output it cancels; each
    # further one takes half a call too much off.
    surplus = max(0, len(graph.inputs) - 1) + max(0, len(graph.outputs) - 1)
    if surplus:
        terms.append((_border(_SMALLEST), 0.5 * surplus))
    return terms


def _chainable(unit: Unit) -> bool:
    graph = unit.graph
    if unit.raw or unit.final or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return False
    return next(iter(graph.inputs.values())) == graph.type_of(graph.outputs[0])


def chain(
    block: Graph, length: int, raw: frozenset[str] = frozenset(), final: bool = False
) -> Graph:
    """`pre -> block^length -> post`.

    Args:
        block: without batch norm; of one type in and out if `length` is above one.
        length: how often it stands in the chain.
        raw: inputs of the block that become the model's own.
        final: whether the block's outputs become the model's own.
    """
    nodes: list[Node] = []
    inputs: dict[str, TensorType] = {}
    feeds = {}
    for name, kind in block.inputs.items():
        if name in raw:
            inputs[name], feeds[name] = kind, name
        else:
            feeds[name] = _pre(f"pre_{name}", kind, inputs, nodes)
    made: list[str] = []
    for i in range(length):
        names = {**feeds, **{node.name: f"c{i}/{node.name}" for node in block.nodes}}
        for node in block.nodes:
            read = {names[name]: block.type_of(name) for name in node.inputs}
            nodes.append(make_node(names[node.name], node.op, read, node.attrs))
        made = [names[name] for name in block.outputs]
        feeds = dict(zip(block.inputs, made, strict=False))
    if not final:
        kinds = [block.type_of(name) for name in block.outputs]
        made = [_post(name, kind, nodes) for name, kind in zip(made, kinds, strict=True)]
    return Graph(inputs, tuple(nodes), tuple(made))


def _border(kind: TensorType) -> Graph:
    """`pre -> post` at a type."""
    nodes: list[Node] = []
    inputs: dict[str, TensorType] = {}
    out = _post(_pre("pre", kind, inputs, nodes), kind, nodes)
    return Graph(inputs, tuple(nodes), (out,))


def _pre(name: str, kind: TensorType, inputs: dict[str, TensorType], nodes: list[Node]) -> str:
    source = f"image_{name}"
    inputs[source] = TensorType((*kind.shape[:-1], _THIN), kind.dtype)
    attrs: dict[str, Attr] = {"features": kind.shape[-1], "bias": True}
    op = "dense" if len(kind.shape) == 1 else "pointwise"
    nodes.append(make_node(name, op, {source: inputs[source]}, attrs))
    return name


def _post(name: str, kind: TensorType, nodes: list[Node]) -> str:
    """The border, which costs nothing in float32 and rounds in 8 bits; of a map, its mean."""
    nodes.append(make_node(f"border_{name}", "identity", {name: kind}, {}))
    if len(kind.shape) != 3:
        return nodes[-1].name
    nodes.append(make_node(f"post_{name}", "global_pool", {nodes[-1].name: kind}, {}))
    return nodes[-1].name
