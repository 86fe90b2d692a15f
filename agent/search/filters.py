"""Filters on metadata, as conditions of SQL.

    {"topic": "wifi"}                     equal
    {"topic": ["wifi", "power"]}          equal to one of them
    {"year": {"gte": 2020, "lt": 2024}}   in a range: gt, gte, lt, lte; of numbers, or of texts
    {"draft": null}                       absent or null

All fields must match. The text of the statement is made of this file's own constants; names and values from outside are
always bound parameters. Numbers match numbers, texts match texts and the numbers that they spell: what a CSV holds
as 2020 is a number here, and "2020" finds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import RequestError

FIELDS_LIMIT: Final = 32
VALUES_LIMIT: Final = 1_000
NAME_LIMIT: Final = 256
_RANGES: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_TYPE: Final = "json_type(metadata, ?)"
_VALUE: Final = "json_extract(metadata, ?)"
_INTEGER_LIMIT: Final = 2**63

Parameter = str | int | float


@dataclass(frozen=True)
class Condition:
    """A condition on the table `passages`, and its parameters in order."""

    sql: str
    parameters: tuple[Parameter, ...]


def condition(given: Mapping[str, Any]) -> Condition:
    """Raises `RequestError` (param `filter`) naming the field that is wrong and what was expected."""
    if not isinstance(given, Mapping):
        raise _wrong("A filter is an object of field names and values.")
    if len(given) > FIELDS_LIMIT:
        raise _wrong(f"A filter may have {FIELDS_LIMIT} fields; this one has {len(given)}.")
    parts = [_field(name, wanted) for name, wanted in given.items()]
    if not parts:
        return Condition("1", ())
    sql = " AND ".join(f"({part.sql})" for part in parts)
    return Condition(sql, tuple(parameter for part in parts for parameter in part.parameters))


def _field(name: object, wanted: Any) -> Condition:
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:
        raise _wrong(f"A filter's field name is a text of 1 to {NAME_LIMIT} characters.")
    if '"' in name or "\\" in name or any(ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 for sign in name):
        raise _wrong(f"The field {name!a} cannot be filtered on: it has a quote, a backslash or a control sign.")
    path = f'$."{name}"'
    if isinstance(wanted, Mapping):
        return _range(name, path, wanted)
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not values:
        return Condition("0", ())
    if len(values) > VALUES_LIMIT:
        raise _wrong(f"The filter on {name!r} lists {len(values):,} values; {VALUES_LIMIT:,} are possible.")
    parts = [_equal(name, path, value) for value in values]
    sql = " OR ".join(part.sql for part in parts)
    return Condition(sql, tuple(parameter for part in parts for parameter in part.parameters))


def _equal(name: str, path: str, value: Any) -> Condition:
    if value is None:
        return Condition(f"coalesce({_TYPE}, 'null') = 'null'", (path,))
    if isinstance(value, bool):
        return Condition(f"{_TYPE} = ?", (path, "true" if value else "false"))
    if isinstance(value, str):
        sql = f"({_TYPE} IN ('text', 'integer', 'real') AND CAST({_VALUE} AS TEXT) = ?)"
        return Condition(sql, (path, path, _text(name, value)))
    return Condition(f"({_TYPE} IN ('integer', 'real') AND {_VALUE} = ?)", (path, path, _number(name, value)))


def _range(name: str, path: str, wanted: Mapping[str, Any]) -> Condition:
    if not wanted or (unknown := [key for key in wanted if key not in _RANGES]):
        expected = ", ".join(_RANGES)
        raise _wrong(f"The filter on {name!r} has {ascii(unknown[0]) if wanted else 'nothing'}; expected {expected}.")
    sql: list[str] = []
    parameters: list[Parameter] = []
    for key, bound in wanted.items():
        if isinstance(bound, str):
            sql.append(f"({_TYPE} = 'text' AND {_VALUE} {_RANGES[key]} ?)")
            parameters += [path, path, _text(name, bound)]
        else:
            sql.append(f"({_TYPE} IN ('integer', 'real') AND {_VALUE} {_RANGES[key]} ?)")
            parameters += [path, path, _number(name, bound)]
    return Condition(" AND ".join(sql), tuple(parameters))


def _number(name: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(f"The filter on {name!r} has {ascii(value)[:80]}; expected a text, a number, true, false or null.")
    # SQLite's integers have 64 bits.
    return value if abs(value) < _INTEGER_LIMIT else float(value)


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _wrong(f"The filter on {name!r} has a text that is not valid Unicode.") from None
    return value


def _wrong(message: str) -> RequestError:
    return RequestError(message, hint="See docs/search.md for what a filter can say.", param="filter")
