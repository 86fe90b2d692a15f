"""One setting: how it is declared, and how a value is checked against the declaration.

A settings class is a frozen dataclass whose fields are made by `setting(...)`. Name and type are the field's own;
default, unit, range and explanation are given there and nowhere else. Flags, environment variables, the checks of
`agent.toml` and the tables of docs/configuration.md are all derived from `declarations(cls)`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from agent.errors import ConfigError

_METADATA = "setting"
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What is known of one setting.

    `kind` is the type of one value, `many` whether it is a list of them, `optional` whether it may be absent (None).
    `flag` is the command line's spelling without dashes; it is the singular for lists, where it is given repeatedly.
    """

    name: str
    kind: type
    doc: str
    default: Any = None
    required: bool = False
    many: bool = False
    optional: bool = False
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    default_doc: str = ""
    flag: str = ""
    secret: bool = False

    @property
    def environment(self) -> str:
        return "EDGE_AGENT_" + self.flag.upper().replace("-", "_")

    @property
    def expected(self) -> str:
        """What a value must be, in words: "an integer from 0 to 65535"."""
        if self.choices:
            one = "one of " + ", ".join(self.choices)
        else:
            one = {
                bool: "true or false",
                int: "an integer",
                float: "a number",
                str: "a string",
                Path: "a path",
            }[self.kind]
        if self.minimum is not None and self.maximum is not None:
            one += f" from {_number(self.minimum)} to {_number(self.maximum)}"
        elif self.minimum is not None:
            one += f", at least {_number(self.minimum)}"
        elif self.maximum is not None:
            one += f", at most {_number(self.maximum)}"
        if self.unit:
            one += f" ({self.unit})"
        return f"a list, each {one}" if self.many else one

    @property
    def default_text(self) -> str:
        """The default as a person reads it."""
        if self.default_doc:
            return self.default_doc
        if self.default is None:
            return "not set"
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, tuple):
            return ", ".join(map(str, self.default)) or "none"
        if isinstance(self.default, float):
            return _number(self.default)
        return str(self.default)

    def check(self, value: object, *, where: str, base: Path, key: str | None = None) -> Any:
        """`value`, as TOML gave it, in its final type. Relative paths start at `base`. Raises `ConfigError`."""
        key = key or self.name
        if self.many:
            if not isinstance(value, list | tuple):
                raise self._wrong(key, value, where)
            return tuple(self._check_one(key, item, where, base) for item in value)
        return self._check_one(key, value, where, base)

    def parse(self, text: str, *, where: str, base: Path) -> Any:
        """One value out of the text of a flag or an environment variable; lists are comma-separated there."""
        if self.many:
            return tuple(self._parse_one(item.strip(), where, base) for item in text.split(",") if item.strip())
        return self._parse_one(text.strip(), where, base)

    def _check_one(self, key: str, value: object, where: str, base: Path) -> Any:
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.kind is Path and isinstance(value, str):
            if not value.strip() or "\0" in value:
                raise self._wrong(key, value, where)
            return base / Path(value).expanduser()
        if type(value) is not self.kind:
            raise self._wrong(key, value, where)
        if isinstance(value, str) and (not value.strip() or (self.choices and value not in self.choices)):
            raise self._wrong(key, value, where)
        if isinstance(value, int | float):
            in_range = (self.minimum is None or value >= self.minimum) and (
                self.maximum is None or value <= self.maximum
            )
            if not math.isfinite(value) or not in_range:
                raise self._wrong(key, value, where)
        return value

    def _parse_one(self, text: str, where: str, base: Path) -> Any:
        value: object = text
        try:
            if self.kind is bool:
                value = _boolean(text)
            elif self.kind in (int, float):
                value = self.kind(text)
        except ValueError:
            raise self._wrong(self.name, text, where) from None
        return self._check_one(self.name, value, where, base)

    def _wrong(self, key: str, value: object, where: str) -> ConfigError:
        shown = "(hidden)" if self.secret else _toml(value)
        return ConfigError(f"{key} = {shown} in {where}: expected {self.expected}.", param=key)


def setting(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    default_doc: str = "",
    flag: str = "",
    secret: bool = False,
) -> Any:
    """A dataclass field that is a setting. `flag` is for a list's singular; without it the name gives the flag."""
    metadata = {
        "doc": doc,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "default_doc": default_doc,
        "flag": flag,
        "secret": secret,
    }
    return dataclasses.field(default=default, metadata={_METADATA: metadata})


@cache
def declarations(cls: type) -> dict[str, Declaration]:
    """The settings of a dataclass by name, in the order of their declaration, without fields that are no setting."""
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        metadata = field.metadata.get(_METADATA)
        if metadata is None:
            continue
        required = field.default is dataclasses.MISSING
        found[field.name] = Declaration(
            name=field.name,
            default=None if required else field.default,
            required=required,
            **_shape(hints[field.name]),
            **{**metadata, "flag": metadata["flag"] or field.name.replace("_", "-")},
        )
    return found


def unknown_key(key: str, known: Iterable[str], *, where: str) -> ConfigError:
    """The error for a key that no setting has, naming the nearest one that exists."""
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], list(known), n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}?" if near else "docs/configuration.md lists every setting."
    return ConfigError(f"{key} in {where} is not a setting.", hint=hint, param=key)


def _shape(hint: Any) -> dict[str, Any]:
    """Kind, choices, many and optional of a type annotation."""
    shape: dict[str, Any] = {}
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
        shape["optional"] = True
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
        shape["many"] = True
    if typing.get_origin(hint) is Literal:
        shape["choices"] = typing.get_args(hint)
        hint = str
    return {**shape, "kind": hint}


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(text)
    return lowered in _TRUE


def _number(value: float) -> str:
    return f"{value:.15g}"


def _toml(value: object) -> str:
    """A value as a person would have typed it, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
