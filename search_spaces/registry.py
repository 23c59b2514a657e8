"""The spaces by name: a new space is one file and one line here."""

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from search_spaces.errors import InputError
from search_spaces.named import Registry, hint
from search_spaces.space import SearchSpace

_SPACES: Registry[type[SearchSpace]] = Registry(
    "space",
    {
        "choices": "search_spaces.choices:Choices",
        "keyword_spotting": "search_spaces.keyword_spotting:KeywordSpotting",
        "mcunet": "search_spaces.mcunet:McuNet",
        "mobilenet_v3": "search_spaces.mobilenet_v3:MobileNetV3",
        "nasbench201": "search_spaces.nasbench201:NasBench201",
        "nasbench_macro": "search_spaces.nasbench_macro:NasBenchMacro",
        "resnet": "search_spaces.resnet:ResNet",
    },
)
names = _SPACES.names
find = _SPACES.find


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
    adapter = TypeAdapter(_SPACES.find(type, "type: "))
    try:
        return adapter.validate_python(parameters)
    except ValidationError as error:
        raise InputError([_line(item, adapter) for item in error.errors()]) from None


def _line(item: Any, adapter: TypeAdapter[SearchSpace]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        fields = adapter.json_schema()["properties"]
        return f"{key}: unknown key {key!r}; {hint(key, fields)}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


PARAMETERS = ConfigDict(extra="forbid")
