"""Things chosen by name: imported when wanted, and one kind of error for a wrong name."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any, Generic, TypeVar

from search_spaces.errors import InputError

T = TypeVar("T")


def hint(name: str, known: Iterable[str]) -> str:
    """What was meant, or what there is."""
    known = list(known)
    close = get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are: {', '.join(known)}" if known else "there is none"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'population'?`, or nothing where no known word is close."""
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


class Registry(Generic[T]):
    """A table of what there is of a kind; a new one is one file and one line.

    Args:
        kind: how errors call it, e.g. `search algorithm`.
        places: `module:attribute` of each, by name.
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        self.kind = kind
        self.places = places

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.places)

    def find(self, name: str, where: str = "") -> T:
        """What has that name, imported now.

        Args:
            name: a key of the table.
            where: in front of an error: the file or key that holds the name.

        Raises:
            InputError: no such name.
        """
        if name not in self.places:
            raise InputError(f"{where}unknown {self.kind} {name!r}; {hint(name, self.names())}")
        module, _, attribute = self.places[name].partition(":")
        return getattr(import_module(module), attribute)


def create(
    registry: Registry[Callable[..., T]],
    type: str,  # noqa: A002 (the key in the config)
    fixed: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> T:
    """Make what a config's `type` names.

    Args:
        registry: of functions or classes.
        type: a name in it.
        fixed: arguments that all of the kind have.
        parameters: its own arguments, from the config.

    Raises:
        InputError: one problem a line, each `key: what is wrong`.
    """
    make = registry.find(type, "type: ")
    known = [name for name in signature(make).parameters if name not in fixed]
    problems = [
        f"{name}: unknown key {name!r} of {registry.kind} {type!r}; {hint(name, known)}"
        for name in parameters
        if name not in known
    ]
    if problems:
        raise InputError(problems)
    return make(**fixed, **parameters)
