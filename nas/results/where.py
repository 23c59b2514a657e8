"""Conditions on columns, such as `latency_ms@cpu < 20 and (macs < 1e6 or params <= 5000)`.

    condition  = all {"or" all}
    all        = part {"and" part}
    part       = "(" condition ")" | operand comparison operand
    comparison = "<" | "<=" | ">" | ">=" | "==" | "!="

An operand is a number or a column; column names may hold `@`, `.` and `-`. The text is parsed here
and never handed to an interpreter.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from jaxtyping import Bool, Num

from search_spaces.errors import InputError
from search_spaces.named import hint

Columns = Mapping[str, Num[np.ndarray, " n"]]

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<comparison><=|>=|==|!=|<|>|=)"
    r"|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w@])"
    r"|(?P<name>[A-Za-z_][\w@.-]*)"
    r"|(?P<bracket>[()]))"
)


def mask(where: str, columns: Columns) -> Bool[np.ndarray, " n"]:
    """Which rows meet the condition; unknown numbers (NaN) meet none.

    Args:
        where: the condition.
        columns: numbers by column name, equally long.

    Raises:
        InputError: it can't be read, or names a column that there isn't.

    Example:
        >>> mask("macs < 2e6 and not_there == 1", {"macs": np.array([1e6])})
        Traceback (most recent call last):
        search_spaces.errors.InputError: where: no column 'not_there'; there are: macs
    """
    return _Parser(where, columns).parse()


def columns_in(where: str) -> list[str]:
    """The columns that a condition names.

    Example:
        >>> columns_in("latency_ms@cpu < 20 and (macs < 1e6 or params <= 5000)")
        ['latency_ms@cpu', 'macs', 'params']
    """
    names = [text for kind, text, _ in _tokens(where) if kind == "name"]
    return [name for name in names if name not in ("and", "or")]


class _Parser:
    def __init__(self, where: str, columns: Columns) -> None:
        self._where = where
        self._columns = columns
        self._tokens = _tokens(where)
        self._next = 0

    def parse(self) -> Bool[np.ndarray, " n"]:
        rows = self._condition()
        if self._next < len(self._tokens):
            raise self._expected("`and`, `or` or the end")
        return rows

    def _condition(self) -> Bool[np.ndarray, " n"]:
        return reduce(np.logical_or, self._joined_by("or", self._all))

    def _all(self) -> Bool[np.ndarray, " n"]:
        return reduce(np.logical_and, self._joined_by("and", self._part))

    def _joined_by(
        self, word: str, part: Callable[[], Bool[np.ndarray, " n"]]
    ) -> list[Bool[np.ndarray, " n"]]:
        parts = [part()]
        while self._take("name", word):
            parts.append(part())
        return parts

    def _part(self) -> Bool[np.ndarray, " n"]:
        if self._take("bracket", "("):
            rows = self._condition()
            if not self._take("bracket", ")"):
                raise self._expected("`)`")
            return rows
        left = self._operand()
        comparison = self._take("comparison")
        if comparison is None:
            raise self._expected("a comparison such as `<`")
        right = self._operand()
        n = len(next(iter(self._columns.values()), ()))
        with np.errstate(invalid="ignore"):
            rows = np.broadcast_to(_COMPARISONS[comparison](left, right), n)
        return rows & ~np.isnan(left) & ~np.isnan(right)

    def _operand(self) -> np.ndarray:
        if number := self._take("number"):
            return np.asarray(float(number))
        name = self._take("name")
        if name is None or name in ("and", "or"):
            self._next -= name is not None
            raise self._expected("a column or a number")
        return number_column(name, self._columns, "where")

    def _take(self, kind: str, text: str | None = None) -> str | None:
        if self._next == len(self._tokens):
            return None
        found_kind, found, _ = self._tokens[self._next]
        if found_kind != kind or text not in (None, found):
            return None
        self._next += 1
        return found

    def _expected(self, what: str) -> InputError:
        if self._next == len(self._tokens):
            return InputError(f"where: expected {what} after '{self._where.strip()}'")
        _, found, position = self._tokens[self._next]
        return InputError(
            f"where: expected {what} at {found!r} (character {position + 1} of '{self._where}')"
        )


def number_column(name: str, columns: Columns, place: str) -> Num[np.ndarray, " n"]:
    """The column of that name.

    Raises:
        InputError: there is none; the error says what was meant, or what there is.
    """
    if name in columns:
        return columns[name]
    raise InputError(f"{place}: no column {name!r}; {_hint(name, list(columns))}")


def _hint(name: str, columns: Sequence[str]) -> str:
    of_metric = [column for column in columns if column.partition("@")[0] == name]
    return f"did you mean {of_metric[0]!r}?" if of_metric else hint(name, columns)


def _tokens(where: str) -> list[tuple[str, str, int]]:
    tokens: list[tuple[str, str, int]] = []
    position = 0
    while where[position:].strip():
        match = _TOKEN.match(where, position)
        if match is None or match.lastgroup is None:
            start = position + len(where[position:]) - len(where[position:].lstrip())
            raise InputError(
                f"where: can't read {where[start:]!r} (character {start + 1} of '{where}'); "
                "write it like: latency_ms@cpu < 20 and (macs < 1e6 or accuracy >= 0.9)"
            )
        tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        position = match.end()
    return tokens
