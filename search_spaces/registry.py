"""The spaces by name: a new space is one file and one line here."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from search_spaces.errors import InputError
from search_spaces.named import Registry
from search_spaces.space import SearchSpace
from search_spaces.wording import got, worded

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
        space = adapter.validate_python(parameters)
    except ValidationError as error:
        raise InputError(list(dict.fromkeys(_lines(error, adapter)))) from None
    # Options are checked where the knobs are made.
    _ = space.knobs
    return space


def _lines(error: ValidationError, adapter: TypeAdapter[SearchSpace]) -> Iterator[str]:
    for item in error.errors():
        if item["type"] == "value_error":
            yield from item["msg"].removeprefix("Value error, ").splitlines()
        elif item["loc"][-1:] == ("str",):
            yield f"{_dotted(item['loc'][:-1])}: must be a number or text{got(item['input'])}"
        elif item["loc"][-1] not in ("int", "float"):
            known = list(adapter.json_schema()["properties"])
            yield f"{_dotted(item['loc'])}: {worded(item, item['loc'][-1], known)}"


def _dotted(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location)


PARAMETERS = ConfigDict(extra="forbid")
