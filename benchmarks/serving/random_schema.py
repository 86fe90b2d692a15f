"""Random JSON Schemas whose documents are bounded: every string, array, number and nesting has an end."""

from __future__ import annotations

import random
from typing import Any

_NAMES = ("id", "name", "on", "room", "level", "Größe", "items", "a b", 'say "x"', "min\\max", "状態", "x-1")
_WORDS = ("on", "off", "kitchen", "naïve", "", "日本", 'a"b', "tab\there", "🙂", "null", "-1")


def random_schema(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """An object schema with up to `depth` levels of nesting below it."""
    return _object(rng, depth)


def _any(rng: random.Random, depth: int) -> dict[str, Any]:
    leaves = [_string, _integer, _number, _enum, _constant, _boolean, _null, _nullable]
    nested = [_object, _array, _array, _union]
    choices = leaves + nested if depth > 0 else leaves
    return rng.choice(choices)(rng, depth)


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(_NAMES, k=rng.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: _any(rng, depth - 1) for name in names},
        "required": [name for name in names if rng.random() < 0.7],
        "additionalProperties": False,
    }


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    least = rng.randint(0, 2)
    return {
        "type": "array",
        "items": _any(rng, depth - 1),
        "minItems": least,
        "maxItems": least + rng.randint(0, 3),
    }


def _union(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [_any(rng, depth - 1) for _ in range(rng.randint(2, 3))]}


def _string(rng: random.Random, _depth: int) -> dict[str, Any]:
    least = rng.randint(0, 4)
    return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 8)}


def _integer(rng: random.Random, _depth: int) -> dict[str, Any]:
    low = rng.randint(-1000, 1000)
    return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 5000)}


def _number(_rng: random.Random, _depth: int) -> dict[str, Any]:
    return {"type": "number"}


def _enum(rng: random.Random, _depth: int) -> dict[str, Any]:
    values: list[Any] = rng.sample(_WORDS, k=rng.randint(1, 4))
    return {"enum": [*values, *rng.sample([1, -2.5, None, True], k=rng.randint(0, 2))]}


def _constant(rng: random.Random, _depth: int) -> dict[str, Any]:
    return {"const": rng.choice([*_WORDS, 7, None, False])}


def _boolean(_rng: random.Random, _depth: int) -> dict[str, Any]:
    return {"type": "boolean"}


def _null(_rng: random.Random, _depth: int) -> dict[str, Any]:
    return {"type": "null"}


def _nullable(rng: random.Random, _depth: int) -> dict[str, Any]:
    return {"type": [rng.choice(["integer", "boolean"]), "null"]}
