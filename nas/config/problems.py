"""Pydantic's errors in the user's words: the key as written in the YAML, the rule, what to do."""

import json
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nas.config.document import Document, Location, Problem, did_you_mean, dotted

_RULES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a group of keys",
    "model_attributes_type": "must be a group of keys",
    "dataclass_type": "must be a group of keys",
    "dict_type": "must be a group of keys",
}


def explain(error: ValidationError, model: type[BaseModel], document: Document) -> list[Problem]:
    """One problem for each of pydantic's errors, at the line where the key stands."""
    items = error.errors(include_url=False)
    # Pydantic counts only the right entries of a list, so a wrong one makes it "too short" as well.
    wrong = {item["loc"][:-1][:depth] for item in items for depth in range(len(item["loc"]))}
    items = [item for item in items if item["type"] != "too_short" or item["loc"] not in wrong]
    return [_problem(item, model, document) for item in items]


def _problem(item: Any, model: type[BaseModel], document: Document) -> Problem:
    location, siblings = _resolve(model, item["loc"])
    message = _message(item, location, siblings)
    if item["type"].startswith("union_tag"):
        location = (*location, "type")
    prefix = f"{dotted(location)}: " if location else ""
    return document.problem(location, prefix + message)


def _message(item: Any, location: Location, siblings: list[str]) -> str:
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "missing":
        return "this key is missing"
    if kind == "extra_forbidden":
        key = str(location[-1])
        hint = did_you_mean(key, siblings) or f"; known keys: {', '.join(siblings)}"
        return f"unknown key {key!r}{hint}"
    if kind == "union_tag_not_found":
        return "this key is missing"
    if kind == "union_tag_invalid":
        return f"must be {context['expected_tags']}" + _got(
            context["tag"], context["expected_tags"]
        )
    if kind == "literal_error":
        return f"must be {context['expected']}" + _got(value, context["expected"])
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}" + _got(value)
    if kind == "string_type" and isinstance(value, (int, float)):
        return f"must be text{_got(value)}; put it in quotes"
    if kind == "too_short":
        return f"must have at least {context['min_length']} entry, got {context['actual_length']}"
    rule = _RULES.get(kind) or item["msg"].removeprefix("Value error, ")
    rule = rule.replace("Input should be", "must be")
    # A rule of our own (a validator's ValueError, a cross-field check) names the value itself.
    return rule if rule == item["msg"].removeprefix("Value error, ") else rule + _got(value)


def _got(value: Any, choices: str = "") -> str:
    shown = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f", got {shown}" + did_you_mean(str(value), re.findall(r"'([^']*)'", choices))


def _resolve(model: type[BaseModel], loc: Location) -> tuple[Location, list[str]]:
    """The key path in the YAML of a pydantic location, and the known keys beside its last one.

    Pydantic puts the chosen member of a union into the location, which nobody wrote.
    """
    kinds: list[Any] = [model]
    path: list[str | int] = []
    siblings: list[str] = []
    for part in loc:
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        chosen = [kind for kind in models if _has_tag(kind, part)]
        if len(models) > 1 and chosen:
            kinds = chosen
        elif models:
            path.append(part)
            fields = {
                str(f.validation_alias or name): f
                for m in models
                for name, f in m.model_fields.items()
            }
            siblings = list(fields)
            kinds = list(_variants(fields[str(part)].annotation)) if part in fields else []
        elif isinstance(part, int) or any(get_origin(kind) is dict for kind in kinds):
            path.append(part)
            items = [
                (get_args(kind) or (Any,))[-1 if get_origin(kind) is dict else 0] for kind in kinds
            ]
            kinds = [variant for item in items for variant in _variants(item)]
    return tuple(path), siblings


def _has_tag(model: type[BaseModel], tag: str | int) -> bool:
    field = model.model_fields.get("type")
    return field is not None and tag in get_args(field.annotation)


def _variants(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, without None, `Annotated` and literals."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _variants(argument)
    elif hasattr(annotation, "__metadata__"):
        yield from _variants(annotation.__origin__)
    elif origin is not Literal and annotation is not type(None):
        yield annotation
