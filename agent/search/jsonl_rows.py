"""Rows of a JSON Lines file: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from agent.errors import RequestError
from agent.search.lines import lines_of
from agent.search.row import Row


def jsonl_rows(path: Path, text: Sequence[str], *, key: str | None = None, encoding: str = "utf-8") -> Iterator[Row]:
    """The file's objects. The text is that of the keys `text`, one below the other; the id that of `key`, or the file's
    name and the object's number. The other keys are metadata as they are.

    Raises `RequestError` naming the line: not JSON, no object, a key that is missing or no text.
    """
    number = 0
    for line, content in enumerate(lines_of(path, encoding), start=1):
        if not content.strip():
            continue
        number += 1
        values = _object(f"{path}: line {line}", content)
        yield Row(
            id=_key(f"{path}: line {line}", values, key) if key is not None else f"{path.name}:{number}",
            text="\n".join(part for name in text if (part := _text(f"{path}: line {line}", values, name).strip())),
            metadata={name: value for name, value in values.items() if name not in text and name != key},
            line=line,
        )


def _object(where: str, content: str) -> dict[str, Any]:
    try:
        values = json.loads(content, parse_constant=_no_constant, parse_float=_finite)
        # A lone surrogate can be written in JSON, but is no text.
        content.encode()
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RequestError(f"{where} has half of a surrogate pair, which is no text.") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{where} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise RequestError(f"{where} is no object but {type(values).__name__}.")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{text[:40]} is too large")
    return value


def _text(where: str, values: dict[str, Any], name: str) -> str:
    if name not in values:
        raise RequestError(f"{where} has no {name!a}; it has: {', '.join(map(ascii, values))}.", param="text")
    value = values[name]
    if not isinstance(value, str):
        raise RequestError(f"{where}: {name!a} is no text but {type(value).__name__}.", param="text")
    if "\0" in value:
        raise RequestError(f"{where}: {name!a} has a NUL character.", param="text")
    return value


def _key(where: str, values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise RequestError(f"{where}: the id {name!a} is {ascii(value)[:80]}; expected a text or a whole number.")
    return str(value).strip()
