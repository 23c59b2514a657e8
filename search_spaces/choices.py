"""A space of named choices without networks: what a user's own super-network or a table offers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from search_spaces.errors import InputError
from search_spaces.ir.builder import Builder, Condition, Option, Pick, Tensor
from search_spaces.named import hint
from search_spaces.registry import PARAMETERS
from search_spaces.space import Knob, SearchSpace


@dataclass(frozen=True)
class Choices(SearchSpace):
    """Knobs and when they are read; what they mean is known to the evaluator alone.

    Options that are numbers are ordered, texts are not.

    Args:
        options: of each knob, by its name; numbers ascend.
        when: knobs that are read only where knobs before them have one of the given options.

    Raises:
        InputError: options or conditions that don't fit together.

    Example:
        >>> space = Choices({"depth": (1, 2), "kernel2": (3, 5)}, {"kernel2": {"depth": (2,)}})
        >>> space.size()
        3
    """

    __pydantic_config__ = PARAMETERS
    name = "choices"
    version = 1
    has_networks = False

    options: Mapping[str, tuple[Option, ...]]
    when: Mapping[str, Mapping[str, tuple[Option, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that conditions name options of knobs that come before."""
        if not self.options:
            raise InputError("options: at least one knob is needed")
        problems = []
        for knob, conditions in self.when.items():
            if knob not in self.options:
                problems.append(f"when.{knob}: unknown knob {knob!r}; {hint(knob, self.options)}")
                continue
            before = list(self.options)[: list(self.options).index(knob)]
            for other, allowed in conditions.items():
                where = f"when.{knob}.{other}"
                if other not in before:
                    problems.append(f"{where}: conditions name knobs that stand before {knob!r}")
                elif not allowed or set(allowed) - set(self.options[other]):
                    problems.append(
                        f"{where}: {list(allowed)} must be some of {list(self.options[other])}"
                    )
        if problems:
            raise InputError(problems)
        _ = self.knobs

    def __hash__(self) -> int:
        """Mappings have none."""
        return hash(tuple(self.options))

    @cached_property
    def knobs(self) -> tuple[Knob, ...]:
        """In the order in which they are given."""
        return tuple(
            Knob(name, tuple(options), ordered=not any(isinstance(o, str) for o in options))
            for name, options in self.options.items()
        )

    def define(self, b: Builder) -> Tensor:  # noqa: ARG002
        """There is nothing to draw."""
        raise InputError("space choices has no networks: its architectures are names and numbers")

    @cached_property
    def _picks(self) -> tuple[tuple[Pick, ...], ...]:
        conditions: dict[str, tuple[Condition, ...]] = {}
        for name in self.options:
            own = [
                (other, frozenset(self.options[other].index(o) for o in allowed))
                for other, allowed in self.when.get(name, {}).items()
            ]
            around = [c for other, _ in own for c in conditions[other]]
            conditions[name] = (*around, *own)
        return tuple((Pick(name, "", None, c),) for name, c in conditions.items())
