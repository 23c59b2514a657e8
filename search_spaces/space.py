"""What a search space is: knobs, and one `define` that draws a network from them.

A concrete space is a frozen dataclass of its parameters that adds `name`, `version`, `knobs` and
`define`. Everything else follows from the drawing: the canonical form (knobs of absent blocks are
0), the exact number of architectures, one-hot features, neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np
from jaxtyping import Bool, Float, Int

from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Condition, Option, Pick, Tensor
from search_spaces.ir.graph import Graph
from search_spaces.ir.verify import verify

Arch = Int[np.ndarray, " k"]
Archs = Int[np.ndarray, "n k"]
Conditions = tuple[Condition, ...]
Allowed = tuple[int, Bool[np.ndarray, " options"]]

# What is read is looked up where the knobs that decide on it have no more settings than this.
_MOST_SETTINGS = 4096


@dataclass(frozen=True, slots=True)
class Knob:
    """A choice with finitely many options.

    Args:
        name: unique in the space, e.g. `s1.b0.kernel`.
        options: the values; numbers ascend, so that the last one is the largest.
        ordered: whether neighbouring options are alike (mutation steps, features).
        static: whether compiled programs fix it (input resolution): a program per option.
        schedule: whether it tells only how a device runs the network, not what is computed.
    """

    name: str
    options: tuple[Option, ...]
    ordered: bool = True
    static: bool = False
    schedule: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        if not self.options or len(set(self.options)) != len(self.options):
            raise InputError(f"{self.name}: options {self.options} must be distinct, at least one")
        numbers = [option for option in self.options if not isinstance(option, str)]
        if numbers and (len(numbers) < len(self.options) or numbers != sorted(numbers)):
            raise InputError(
                f"{self.name}: options {self.options} must ascend: write them in order"
            )


class SearchSpace:
    """Base of all spaces. A subclass gives `name`, `version`, `knobs` and `define`."""

    name: str
    version: int
    # False where architectures are choices only, and there is no network to draw.
    has_networks = True

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """The knobs, in the order of the architecture's entries."""
        raise NotImplementedError

    def define(self, b: Builder) -> Tensor:
        """Draw the network and return its output."""
        raise NotImplementedError

    def build(self, arch: Arch | None, static: Mapping[str, Option] | None = None) -> Graph:
        """The network of an architecture, or the super-graph.

        Args:
            arch: entries in `[0, cardinality[i])`; None for the super-graph.
            static: options of static knobs fixed in the super-graph; the largest otherwise.

        Returns:
            The verified graph.
        """
        choices = None if arch is None else self._choices(arch)
        builder = Builder(self.knobs, choices, static)
        return verify(builder.graph(self.define(builder)), is_super=arch is None)

    @cached_property
    def cardinality(self) -> Int[np.ndarray, " k"]:
        """Number of options of each knob."""
        return np.array([len(knob.options) for knob in self.knobs])

    @cached_property
    def narrow(self) -> np.dtype[np.signedinteger]:
        """The smallest integers that hold every entry, and -1: populations in them are faster."""
        return np.min_scalar_type(-int(self.cardinality.max()))

    @cached_property
    def drawing(self) -> Builder:
        """The builder after drawing the super-graph: what was read where, under what choices."""
        builder = Builder(self.knobs, None)
        self.define(builder)
        unread = {knob.name for knob in self.knobs} - {pick.knob for pick in builder.picks}
        if unread:
            raise InputError(f"space {self.name}: knobs {sorted(unread)} are never read")
        return builder

    @cached_property
    def knob_index(self) -> Mapping[str, int]:
        """Position of each knob, by name."""
        return {knob.name: i for i, knob in enumerate(self.knobs)}

    @cached_property
    def _picks(self) -> tuple[tuple[Pick, ...], ...]:
        found: dict[str, list[Pick]] = {knob.name: [] for knob in self.knobs}
        for pick in self.drawing.picks:
            found[pick.knob].append(pick)
        return tuple(map(tuple, found.values()))

    def holds(
        self, archs: Archs, conditions: Sequence[tuple[str, frozenset[int]]]
    ) -> Bool[np.ndarray, " n"]:
        """Which architectures meet all conditions `(knob, allowed entries)`."""
        out = np.ones(len(archs), bool)
        for knob, allowed in conditions:
            column = self.knob_index[knob]
            met = np.zeros(self.cardinality[column], bool)
            met[list(allowed)] = True
            out &= met[archs[:, column]]
        return out

    def active(self, archs: Archs) -> Bool[np.ndarray, "n k"]:
        """Which knobs each architecture reads."""
        if self._looked_up is None:
            return self._decide(archs)
        knobs, strides, table = self._looked_up
        return table.take(archs[:, knobs] @ strides, axis=0)

    @cached_property
    def _looked_up(
        self,
    ) -> tuple[Int[np.ndarray, " c"], Int[np.ndarray, " c"], Bool[np.ndarray, "s k"]] | None:
        """Knobs that decide what is read, their strides in the settings, and what each setting
        reads; None where there are too many settings.
        """
        knobs = sorted({c for group in self._readings[1] for each in group for c, _ in each})
        sizes = [int(self.cardinality[knob]) for knob in knobs]
        if prod(sizes) > _MOST_SETTINGS:
            return None
        settings = np.zeros((prod(sizes), len(self.knobs)), int)
        settings[:, knobs] = list(product(*map(range, sizes)))
        strides = [prod(sizes[i + 1 :]) for i in range(len(sizes))]
        return np.array(knobs, int), np.array(strides, int), self._decide(settings)

    def _decide(self, archs: Archs) -> Bool[np.ndarray, "n k"]:
        groups, alternatives = self._readings
        met = np.zeros((len(archs), len(alternatives)), bool)
        for group, conditions in enumerate(alternatives):
            for each in conditions:
                whole = np.ones(len(archs), bool)
                for column, allowed in each:
                    whole &= allowed[archs[:, column]]
                met[:, group] |= whole
        return met[:, groups]

    @cached_property
    def _readings(self) -> tuple[Int[np.ndarray, " k"], Sequence[Sequence[Sequence[Allowed]]]]:
        """Groups of knobs that are read under the same conditions, as those of a block are.

        Returns:
            the group of each knob; for each group the alternatives, each a list of knobs and
            which of their options are allowed.
        """
        keys = [frozenset(pick.conditions for pick in picks) for picks in self._picks]
        distinct = list(dict.fromkeys(keys))
        groups = np.array([distinct.index(key) for key in keys])
        return groups, [[self._allowed(each) for each in key] for key in distinct]

    def _allowed(self, conditions: Conditions) -> list[Allowed]:
        columns = [self.knob_index[knob] for knob, _ in conditions]
        options = [np.arange(self.cardinality[column]) for column in columns]
        return [
            (column, np.isin(every, list(allowed)))
            for column, every, (_, allowed) in zip(columns, options, conditions, strict=True)
        ]

    def canonical(self, archs: Archs) -> Archs:
        """The same architectures with knobs that are not read set to 0: equal networks are equal.

        A knob's conditions name every choice around it, so one pass settles all.
        """
        return archs * self.active(archs)

    def computed(self, archs: Archs) -> Archs:
        """Canonical, with knobs that tell only how devices run a network at their first option.

        Networks that compute the same, and so are as accurate, are equal.
        """
        schedule = np.array([knob.schedule for knob in self.knobs])
        return self.canonical(np.where(schedule[None, :], 0, archs))

    def sample(self, rng: np.random.Generator, n: int) -> Archs:
        """`n` canonical architectures, each knob drawn uniformly."""
        return self.canonical(rng.integers(0, self.cardinality[None, :], (n, len(self.knobs))))

    def largest(self) -> Arch:
        """Every knob at its last option."""
        return self.canonical(self.cardinality[None, :] - 1)[0]

    def smallest(self) -> Arch:
        """Every knob at its first option."""
        return np.zeros(len(self.knobs), int)

    def encode(self, choices: Mapping[str, Option]) -> Arch:
        """Architecture of the named choices; knobs that are not read may be left out.

        Raises:
            InputError: an unknown knob, an option that it does not have, or a missing knob.
        """
        unknown = sorted(set(choices) - set(self.knob_index))
        if unknown:
            raise InputError(f"space {self.name} has no knob {unknown[0]!r}")
        arch = np.zeros(len(self.knobs), int)
        for i, knob in enumerate(self.knobs):
            if knob.name in choices:
                if choices[knob.name] not in knob.options:
                    raise InputError(
                        f"{knob.name}: {choices[knob.name]!r} is none of {list(knob.options)}"
                    )
                arch[i] = knob.options.index(choices[knob.name])
        needed = self.active(arch[None])[0]
        missing = [k.name for k, need in zip(self.knobs, needed, strict=True) if need]
        missing = [name for name in missing if name not in choices]
        if missing:
            raise InputError(f"space {self.name}: the choice for {missing[0]!r} is missing")
        return self.canonical(arch[None])[0]

    def decode(self, arch: Arch) -> dict[str, Option]:
        """The choices that an architecture makes; knobs it does not read are left out."""
        active = self.active(arch[None])[0]
        return {knob.name: knob.options[arch[i]] for i, knob in enumerate(self.knobs) if active[i]}

    def neighbours(self, arch: Arch) -> Archs:
        """All distinct canonical architectures that differ in one knob's choice."""
        arch = self.canonical(arch[None])[0]
        changed = [
            np.concatenate([arch[:i], [option], arch[i + 1 :]])
            for i in np.flatnonzero(self.active(arch[None])[0])
            for option in range(self.cardinality[i])
            if option != arch[i]
        ]
        if not changed:
            return np.zeros((0, len(self.knobs)), int)
        return np.unique(self.canonical(np.stack(changed)), axis=0)

    def onehot(self, archs: Archs) -> Float[np.ndarray, "n f"]:
        """One column per option of each knob, all zero where the knob is not read (float32)."""
        read = np.where(self.active(archs), archs, -1).astype(self.narrow).T.copy()
        # Column by column: whole rows of what is transposed are repeated and compared.
        chosen = read.repeat(self.cardinality, axis=0) == self._option
        return chosen.astype(np.float32).T

    @cached_property
    def _option(self) -> Int[np.ndarray, "f 1"]:
        """The option of each column of `onehot`."""
        return np.concatenate([np.arange(c, dtype=self.narrow) for c in self.cardinality])[:, None]

    def size(self) -> int:
        """Exact number of distinct canonical architectures.

        Knobs fall into groups that share conditions; within a group the controlling knobs are
        enumerated, and the others multiply.
        """
        return prod(self._count(group) for group in self._groups())

    def _groups(self) -> list[list[int]]:
        groups: list[set[int]] = [{i} for i in range(len(self.knobs))]
        for i, picks in enumerate(self._picks):
            linked = {i} | {self.knob_index[k] for pick in picks for k, _ in pick.conditions}
            merged = set[int]().union(*(g for g in groups if g & linked))
            groups = [g for g in groups if not g & linked] + [merged]
        return [sorted(group) for group in groups]

    def _count(self, group: list[int]) -> int:
        controls = sorted(
            {self.knob_index[k] for i in group for p in self._picks[i] for k, _ in p.conditions}
        )
        settings = np.zeros((prod(self.cardinality[i] for i in controls), len(self.knobs)), int)
        settings[:, controls] = list(product(*(range(self.cardinality[i]) for i in controls)))
        settings = np.unique(self.canonical(settings), axis=0)
        free = [i for i in group if i not in controls]
        counts = np.where(self.active(settings)[:, free], self.cardinality[free][None, :], 1)
        return sum(prod(map(int, row)) for row in counts)

    def _choices(self, arch: Arch) -> dict[str, int]:
        if arch.shape != (len(self.knobs),):
            raise InputError(f"space {self.name} has {len(self.knobs)} knobs, got {arch.shape}")
        if np.any(arch < 0) or np.any(arch >= self.cardinality):
            raise InputError(f"space {self.name}: entries must lie in [0, cardinality), got {arch}")
        return {knob.name: int(i) for knob, i in zip(self.knobs, arch, strict=True)}
