"""Tables of TOML into frozen dataclasses, strictly: an unknown key, a wrong type or a value out of range is an error.

The dataclass is the schema. A field's type is `int`, `float`, `bool`, `str`, a `Literal` of strings, `tuple[str, ...]`,
or another dataclass (a table), or a tuple of one (an array of tables); `Annotated[..., Range(...)]` bounds a number.
Standard library only: the wheel is built before anything is installed.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from agent.errors import ConfigError

T = TypeVar("T")

DERIVED = {"derived": True}
"""Metadata of a field that a file may not set, because the program works it out; an override may."""


@dataclass(frozen=True)
class Range:
    """Both ends belong to it."""

    low: float
    high: float


def read(kind: type[T], table: Mapping[str, object], *, source: str, prefix: str = "") -> T:
    """Make a `kind` of `table`. `source` names the file in errors, `prefix` the table ("llama.").

    Raises `ConfigError` naming the key, the value and what was expected.
    """
    known, types = fields(kind), hints(kind)
    for key in table:
        field = known.get(key)
        if field is None or field.metadata.get("derived"):
            raise unknown_key(prefix + key, [name for name in known if not known[name].metadata.get("derived")], source)
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in table:
            values[name] = check(types[name], table[name], source=source, key=prefix + name)
        elif field.default is dataclasses.MISSING:
            wanted = expected(types[name])
            raise ConfigError(f"{source}: {prefix}{name} is missing; expected {wanted}.", param=prefix + name)
    return kind(**values)


def check(annotation: Any, value: object, *, source: str, key: str) -> Any:
    """`value` as the type of `annotation`. Raises `ConfigError` where it is not one."""
    kind, limits = _bare(annotation)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        return read(kind, value, source=source, prefix=key + ".")
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        (item, _) = typing.get_args(kind)
        return tuple(check(item, part, source=source, key=f"{key}[{i}]") for i, part in enumerate(value))
    if kind is float and type(value) is int:
        value = float(value)
    if typing.get_origin(kind) is Literal:
        good = isinstance(value, str) and value in typing.get_args(kind)
    else:
        good = kind in (int, float, bool, str) and type(value) is kind
    if good and limits is not None:
        good = isinstance(value, int | float) and limits.low <= value <= limits.high
    if not good:
        raise ConfigError(f"{source}: {key} is {value!r}; expected {expected(annotation)}.", param=key)
    return value


def unknown_key(key: str, known: list[str], source: str) -> ConfigError:
    """The error for a key that does not exist, with the nearest one that does."""
    name = key.rpartition(".")[2]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else ""
    return ConfigError(f"{source}: unknown key {key}; expected one of {', '.join(known)}.", hint=hint, param=key)


def expected(annotation: Any) -> str:
    """What a key takes, in words."""
    kind, limits = _bare(annotation)
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        (item, _) = typing.get_args(kind)
        return "an array of tables" if dataclasses.is_dataclass(item) else "an array of strings"
    if dataclasses.is_dataclass(kind):
        return "a table"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}[kind]
    return words if limits is None else f"{words} from {limits.low:g} to {limits.high:g}"


def fields(kind: type) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(kind)}


def hints(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass, resolved."""
    return typing.get_type_hints(kind, include_extras=True)


def _bare(annotation: Any) -> tuple[Any, Range | None]:
    if typing.get_origin(annotation) is Annotated:
        kind, *rest = typing.get_args(annotation)
        return kind, next((part for part in rest if isinstance(part, Range)), None)
    return annotation, None
