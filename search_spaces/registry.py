"""The spaces by name: a new space is one file and one line here."""

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from search_spaces.errors import InputError
from search_spaces.space import SearchSpace

_SPACES = {
    "mobilenet_v3": "search_spaces.mobilenet_v3:MobileNetV3",
}


def names() -> list[str]:
    """Names of all spaces."""
    return sorted(_SPACES)


def create(
    type: str,  # noqa: A002 (the key in the config)
    **parameters: Any,
) -> SearchSpace:
    """A space by name.

    Args:
        type: one of `names()`.
        parameters: fields of the space's dataclass.

    Raises:
        InputError: one problem a line, each `key: what is wrong`.
    """
    if type not in _SPACES:
        close = get_close_matches(type, _SPACES, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names())}"
        raise InputError(f"type: unknown space {type!r}; {hint}")
    module, _, attribute = _SPACES[type].partition(":")
    adapter = TypeAdapter(getattr(import_module(module), attribute))
    try:
        return adapter.validate_python(parameters)
    except ValidationError as error:
        raise InputError([_line(item, adapter) for item in error.errors()]) from None


def _line(item: Any, adapter: TypeAdapter[SearchSpace]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        fields = adapter.json_schema()["properties"]
        close = get_close_matches(key, fields, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"keys: {', '.join(fields)}"
        return f"{key}: unknown key {key!r}; {hint}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


PARAMETERS = ConfigDict(extra="forbid")
