"""Random JSON Schemas of the kinds that a grammar is made for, with bounded lengths, and never contradictory."""

from __future__ import annotations

from typing import Any

import numpy as np

_WORDS = ["id", "name", "größe", 'is "ok"', "a/b", "tags", "x", "température", "left", "日", "size", "note"]
_PATTERNS = ["^[A-Z]{2,4}$", r"^\d{3}-\d{2}$", "^(yes|no|maybe so)$", r"^\+?[0-9 ]{3,9}$", '^[^\\s"]{1,5}$']
_VALUES = ["red", "light green", '"quoted"\n', 0, -7, 3.25, 1e-9, True, None, [], [1, "a"], {"k": {"n": None}}]
_PLAIN: list[dict[str, Any]] = [
    {"type": "boolean"},
    {"type": "null"},
    {"const": "fixed \\ text"},
    {"type": ["boolean", "null"]},
]


def random_schema(random: np.random.Generator, depth: int = 3) -> dict[str, Any]:
    """An object at the top, at most `depth` levels below it."""
    return _object(random, depth)


def _any(random: np.random.Generator, depth: int) -> dict[str, Any]:
    leaves = [_integer, _number, _string, _enum, _plain]
    makers = [*leaves, _object, _array, _any_of, _nullable] if depth > 0 else leaves
    return makers[random.integers(len(makers))](random, depth - 1)


def _pick(random: np.random.Generator, values: list[Any], low: int, high: int) -> list[Any]:
    count = int(random.integers(low, min(high, len(values)) + 1))
    return [values[i] for i in random.permutation(len(values))[:count]]


def _plain(random: np.random.Generator, _depth: int) -> dict[str, Any]:
    return dict(_PLAIN[random.integers(len(_PLAIN))])


def _integer(random: np.random.Generator, _depth: int) -> dict[str, Any]:
    low, high = sorted(int(n) for n in random.integers(-(10 ** random.integers(1, 9)), 10 ** random.integers(1, 9), 2))
    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high + 100}
    if random.random() < 0.3:
        schema["multipleOf"] = int(random.choice([2, 5, 12, 60]))
    if random.random() < 0.3:
        del schema[str(random.choice(["minimum", "maximum"]))]
    return schema


def _number(random: np.random.Generator, _depth: int) -> dict[str, Any]:
    low, high = sorted(
        round(float(n), int(random.integers(0, 9))) for n in random.normal(0, 10.0 ** random.integers(-3, 6), 2)
    )
    names = [str(random.choice(["minimum", "exclusiveMinimum"])), str(random.choice(["maximum", "exclusiveMaximum"]))]
    schema = {"type": "number", names[0]: low, names[1]: high + 0.01}
    if random.random() < 0.4:
        del schema[names[random.integers(2)]]
    return schema


def _string(random: np.random.Generator, _depth: int) -> dict[str, Any]:
    kind = random.random()
    if kind < 0.2:
        return {"type": "string", "pattern": _PATTERNS[random.integers(len(_PATTERNS))]}
    if kind < 0.4:
        return {"type": "string", "format": str(random.choice(["date", "time", "date-time", "uuid", "ipv4"]))}
    low = int(random.integers(0, 6))
    return {"type": "string", "minLength": low, "maxLength": low + int(random.integers(0, 30))}


def _enum(random: np.random.Generator, _depth: int) -> dict[str, Any]:
    return {"enum": _pick(random, _VALUES, 1, 6)}


def _array(random: np.random.Generator, depth: int) -> dict[str, Any]:
    low = int(random.integers(0, 3))
    high = low + int(random.integers(0, 3))
    if high > 0 and random.random() < 0.2:
        return {
            "type": "array",
            "prefixItems": [_any(random, depth) for _ in range(high)],
            "minItems": low,
            "items": False,
        }
    if random.random() < 0.2:
        values = _pick(random, _VALUES, 3, 5)
        return {"type": "array", "items": {"enum": values}, "uniqueItems": True, "minItems": low}
    return {"type": "array", "items": _any(random, depth), "minItems": low, "maxItems": high}


def _any_of(random: np.random.Generator, depth: int) -> dict[str, Any]:
    return {"anyOf": [_any(random, depth) for _ in range(int(random.integers(1, 4)))]}


def _nullable(random: np.random.Generator, depth: int) -> dict[str, Any]:
    return {"oneOf": [{"type": "null"}, _object(random, depth)]}


def _object(random: np.random.Generator, depth: int) -> dict[str, Any]:
    names = _pick(random, _WORDS, 0, 5)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _any(random, depth) for name in names},
        "required": [name for name in names if random.random() < 0.6],
        "additionalProperties": False,
    }
    if random.random() < 0.2:
        schema["additionalProperties"] = {"type": "string", "maxLength": 4}
        schema["maxProperties"] = len(names) + 2
    if random.random() < 0.2 and names:
        schema["minProperties"] = int(random.integers(1, len(names) + 1))
    return schema
