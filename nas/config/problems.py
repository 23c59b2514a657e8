"""Pydantic's errors in the user's words: the key as written in the YAML, the rule, what to do."""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nas.config.document import Document, Location, Problem, dotted
from search_spaces.wording import worded


def explain(error: ValidationError, model: type[BaseModel], document: Document) -> list[Problem]:
    """One problem for each of pydantic's errors, at the line where the key stands."""
    items = error.errors(include_url=False)
    # Pydantic counts only the right entries of a list, so a wrong one makes it "too short" as well.
    wrong = {item["loc"][:-1][:depth] for item in items for depth in range(len(item["loc"]))}
    items = [item for item in items if item["type"] != "too_short" or item["loc"] not in wrong]
    return [_problem(item, model, document) for item in items]


def _problem(item: Any, model: type[BaseModel], document: Document) -> Problem:
    location, siblings = _resolve(model, item["loc"])
    message = worded(item, location[-1] if location else "", siblings)
    if item["type"].startswith("union_tag"):
        location = (*location, "type")
    prefix = f"{dotted(location)}: " if location else ""
    return document.problem(location, prefix + message)


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
