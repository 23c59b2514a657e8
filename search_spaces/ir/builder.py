"""The pen that a search space draws its networks with: ops, scopes and three elastic verbs.

The same `define(b)` of a space is run for a concrete architecture, where `pick` gives the chosen
option, `repeat` unrolls the chosen depth and `branch` draws the chosen branch, and for the
super-graph, where they give the largest option, every repeat and every branch. On the way the
builder notes which knob was read where and under which conditions; from that follow the canonical
form, the blocks of a space and their number.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from search_spaces.ir.graph import Attr, Graph, Node, TensorType
from search_spaces.ir.ops import ACTIVATIONS, GraphError, make_node
from search_spaces.ir.patches import Patches

Option = int | float | str
Tensor = str
Condition = tuple[str, frozenset[int]]


class KnobLike(Protocol):
    """What the builder needs to know of a knob."""

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> tuple[Option, ...]: ...


@dataclass(frozen=True, slots=True)
class Pick:
    """A knob was read: in which scope and block, and under which choices of other knobs.

    `counts` is true where its value reaches no block: it counts repeats or patches.
    """

    knob: str
    scope: str
    block: str | None
    conditions: tuple[Condition, ...]
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """A place up to which blocks may run in patches: the first `blocks` of the super-graph.

    `side` and `depth` name the knobs, `here` is the option of `depth` that stands for this place.
    """

    side: str
    depth: str
    here: Option
    blocks: int


class Builder:
    """Collects the nodes of one graph.

    Args:
        knobs: the space's knobs.
        choices: knob name to index of the chosen option; None builds the super-graph.
        static: options fixed in the super-graph (input resolution), by knob name.
    """

    def __init__(
        self,
        knobs: Sequence[KnobLike],
        choices: Mapping[str, int] | None,
        static: Mapping[str, Option] | None = None,
    ) -> None:
        self._knobs = {knob.name: knob for knob in knobs}
        self._choices = choices
        self._static = static or {}
        self._types: dict[Tensor, TensorType] = {}
        self._inputs: dict[Tensor, TensorType] = {}
        self._nodes: list[Node] = []
        self._scopes: list[str] = []
        self._block: str | None = None
        self._conditions: list[Condition] = []
        self._patches: Patches | None = None
        self.cuts: list[Cut] = []
        self.picks: list[Pick] = []
        self.blocks: dict[str, tuple[Condition, ...]] = {}

    @property
    def is_super(self) -> bool:
        """Whether the super-graph is being built."""
        return self._choices is None

    def graph(self, *outputs: Tensor) -> Graph:
        """The finished graph."""
        return Graph(self._inputs, tuple(self._nodes), outputs, tuple(self.blocks), self._patches)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """Shape of a tensor: `(h, w, c)` or `(c,)`."""
        return self._types[x].shape

    def channels(self, x: Tensor) -> int:
        """Size of a tensor's last axis."""
        return self._types[x].shape[-1]

    # The three verbs

    def pick(self, knob: str) -> Option:
        """The chosen option; in the super-graph the largest one."""
        options = self._knob(knob).options
        self._note(knob)
        if self._choices is not None:
            return options[self._choices[knob]]
        if knob in self._static:
            return self._static[knob]
        if isinstance(options[-1], str):
            raise GraphError(f"knob {knob!r} has named options: draw them with branch()")
        return options[-1]

    def repeat(self, knob: str, x: Tensor, body: Callable[[Tensor, int], Tensor]) -> Tensor:
        """`body(x, i)` as blocks `b0`, `b1`, … for the chosen depth.

        In the super-graph all are drawn, and each that may be absent is closed by a gate, so its
        input and output must be of one type.
        """
        depths = [_depth(knob, option) for option in self._knob(knob).options]
        self._note(knob, counts=True)
        count = max(depths) if self._choices is None else depths[self._choices[knob]]
        for i in range(count):
            present = frozenset(j for j, depth in enumerate(depths) if depth > i)
            optional = len(present) < len(depths)
            if optional:
                self._conditions.append((knob, present))
            with self.block(f"b{i}"):
                out = body(x, i)
                if optional and self.is_super:
                    out = self.node("gate", "gate", (out, x), knob=knob, index=i)
            if optional:
                self._conditions.pop()
            x = out
        return x

    def branch(
        self, knob: str, branches: Mapping[str, Callable[[Tensor], Tensor]], x: Tensor
    ) -> Tensor:
        """The chosen branch, drawn in a scope of its name; in the super-graph all, selected.

        A branch that changes nothing draws an `identity`: a block can't be empty.
        """
        options = self._knob(knob).options
        if tuple(branches) != options:
            raise GraphError(f"knob {knob!r} has options {options}, branches {tuple(branches)}")
        self._note(knob)
        outs = []
        for index, (name, draw) in enumerate(branches.items()):
            if self._choices is not None and self._choices[knob] != index:
                continue
            self._conditions.append((knob, frozenset({index})))
            with self.scope(name):
                outs.append(draw(x))
            self._conditions.pop()
        return self.node("select", "select", tuple(outs), knob=knob) if self.is_super else outs[0]

    def cut(self, side: str, depth: str, here: Option) -> None:
        """Let all blocks so far run in patches, on microcontrollers, where `depth` is `here`.

        The knob `side` counts the patches along each side; where it is 1, `depth` is not read.
        """
        sides, depths = ([*self._knob(knob).options] for knob in (side, depth))
        self._note(side, counts=True)
        self._conditions.append((side, frozenset(i for i, n in enumerate(sides) if n != 1)))
        self._note(depth, counts=True)
        self._conditions.pop()
        if self._choices is None:
            self.cuts.append(Cut(side, depth, here, len(self.blocks)))
            return
        count = _depth(side, sides[self._choices[side]])
        if count > 1 and depths[self._choices[depth]] == here:
            self._patches = Patches(count, next(reversed(self.blocks)))

    # Scopes

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names inside start with `name/`."""
        self._scopes.append(name)
        yield
        self._scopes.pop()

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        """A scope that devices measure as one unit. Blocks do not nest."""
        with self.scope(name):
            path = "/".join(self._scopes)
            if self._block is not None:
                raise GraphError(f"block {path!r} stands inside block {self._block!r}")
            if path in self.blocks:
                raise GraphError(f"block {path!r} is drawn twice")
            self.blocks[path] = tuple(self._conditions)
            self._block = path
            yield
            self._block = None

    # Ops

    def input(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """An input of the network."""
        self._inputs[name] = self._types[name] = TensorType(shape)
        return name

    def node(self, name: str, op: str, inputs: tuple[Tensor, ...], **attrs: Attr) -> Tensor:
        """Add a node of any op; its name is prefixed by the scopes."""
        full = "/".join((*self._scopes, name))
        if full in self._types:
            raise GraphError(f"{full}: the name is used twice")
        node = make_node(full, op, {i: self._types[i] for i in inputs}, attrs)
        self._nodes.append(node)
        self._types[full] = node.out
        return full

    def conv(
        self, name: str, x: Tensor, features: int, kernel: int, stride: int = 1, bias: bool = False
    ) -> Tensor:
        """Convolution with centred padding `kernel // 2`."""
        window = {"kernel": kernel, "stride": stride, "padding": kernel // 2}
        return self.node(name, "conv", (x,), features=features, bias=bias, **window)

    def depthwise(
        self, name: str, x: Tensor, kernel: int, stride: int = 1, bias: bool = False
    ) -> Tensor:
        """Depthwise convolution with centred padding `kernel // 2`."""
        window = {"kernel": kernel, "stride": stride, "padding": kernel // 2}
        return self.node(name, "depthwise", (x,), bias=bias, **window)

    def pointwise(self, name: str, x: Tensor, features: int, bias: bool = False) -> Tensor:
        """1x1 convolution."""
        return self.node(name, "pointwise", (x,), features=features, bias=bias)

    def dense(self, name: str, x: Tensor, features: int, bias: bool = True) -> Tensor:
        """Fully connected layer on a `(features,)` tensor."""
        return self.node(name, "dense", (x,), features=features, bias=bias)

    def batch_norm(self, name: str, x: Tensor, epsilon: float = 1e-5) -> Tensor:
        """Batch normalisation."""
        return self.node(name, "batch_norm", (x,), epsilon=epsilon)

    def activation(self, name: str, x: Tensor, op: str) -> Tensor:
        """One of `ACTIVATIONS`."""
        if op not in ACTIVATIONS:
            raise GraphError(f"{op!r} is no activation; there are {', '.join(ACTIVATIONS)}")
        return self.node(name, op, (x,))

    def squeeze_excite(self, x: Tensor, reduced: int) -> Tensor:
        """Squeeze-and-excitation with a hard sigmoid (MobileNetV3, Howard et al. 2019, §5.3)."""
        with self.scope("se"):
            y = self.node("pool", "global_pool", (x,))
            y = self.pointwise("reduce", y, reduced, bias=True)
            y = self.activation("relu", y, "relu")
            y = self.pointwise("expand", y, self.channels(x), bias=True)
            y = self.activation("hsigmoid", y, "hsigmoid")
            return self.node("mul", "mul", (x, y))

    def add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """Sum of two tensors of one type."""
        return self.node(name, "add", (x, y))

    def _knob(self, name: str) -> KnobLike:
        if name not in self._knobs:
            raise GraphError(f"the space declares no knob {name!r}")
        return self._knobs[name]

    def _note(self, knob: str, counts: bool = False) -> None:
        scope = "/".join(self._scopes)
        self.picks.append(Pick(knob, scope, self._block, tuple(self._conditions), counts))


def _depth(knob: str, option: Option) -> int:
    if not isinstance(option, int) or option < 0:
        raise GraphError(f"knob {knob!r} counts repeats: {option!r} is no count")
    return option
