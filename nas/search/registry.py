"""The search algorithms by name: a new one is one file and one line here."""

from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

from nas.search.base import SearchAlgorithm
from search_spaces.errors import InputError
from search_spaces.space import SearchSpace

_ALGORITHMS = {
    "nsga2": "nas.search.nsga2:NSGA2",
    "random": "nas.search.random_search:RandomSearch",
}


def names() -> list[str]:
    """Names of all algorithms."""
    return sorted(_ALGORITHMS)


def create(
    type: str,  # noqa: A002 (the key in the config)
    space: SearchSpace,
    seed: int,
    **parameters: Any,
) -> SearchAlgorithm:
    """An algorithm by name.

    Args:
        type: one of `names()`.
        space: where it searches.
        seed: of all its random choices, not negative.
        parameters: the algorithm's own, e.g. `population`.

    Raises:
        InputError: one problem a line, each `key: what is wrong`.
    """
    if type not in _ALGORITHMS:
        raise InputError(f"type: unknown search algorithm {type!r}; {_hint(type, names())}")
    module, _, attribute = _ALGORITHMS[type].partition(":")
    algorithm = getattr(import_module(module), attribute)
    known = [name for name in signature(algorithm).parameters if name not in ("space", "seed")]
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise InputError(
            [
                f"{name}: unknown key {name!r} of search {type!r}; {_hint(name, known)}"
                for name in unknown
            ]
        )
    return algorithm(space, seed, **parameters)


def _hint(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are: {', '.join(known)}" if known else "it has none"
