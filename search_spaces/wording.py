"""Pydantic's errors in the user's words: the rule and what was given, for every file they write."""

import json
import re
from collections.abc import Sequence
from typing import Any

from search_spaces.named import did_you_mean

_RULES = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "mapping_type": "must be a group of keys",
    "model_type": "must be a group of keys",
    "model_attributes_type": "must be a group of keys",
    "dataclass_type": "must be a group of keys",
    "dict_type": "must be a group of keys",
}


def worded(item: Any, key: str | int, siblings: Sequence[str]) -> str:
    """What is wrong with a value, without where it stands.

    Args:
        item: one of `ValidationError.errors()`.
        key: the last part of its place.
        siblings: keys that are known there.
    """
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind in ("missing", "missing_argument", "union_tag_not_found"):
        return f"this {'entry' if isinstance(key, int) else 'key'} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = did_you_mean(str(key), siblings) or f"; known keys: {', '.join(siblings)}"
        return f"unknown key {str(key)!r}{known}"
    if kind == "union_tag_invalid":
        return f"must be {context['expected_tags']}" + got(context["tag"], context["expected_tags"])
    if kind == "literal_error":
        return f"must be {context['expected']}" + got(value, context["expected"])
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}" + got(value)
    if kind == "string_type" and isinstance(value, (int, float)):
        return f"must be text{got(value)}; put it in quotes"
    if kind == "too_short":
        return f"must have at least {context['min_length']} entry, got {context['actual_length']}"
    rule = _RULES.get(kind) or item["msg"].removeprefix("Value error, ")
    rule = rule.replace("Input should be", "must be")
    # A rule of our own (a validator's ValueError, a cross-field check) names the value itself.
    return rule if rule == item["msg"].removeprefix("Value error, ") else rule + got(value)


def got(value: Any, choices: str = "") -> str:
    """`, got 5`, and what was meant where that is among quoted choices."""
    shown = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f", got {shown}" + did_you_mean(str(value), re.findall(r"'([^']*)'", choices))
