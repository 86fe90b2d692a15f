"""A request body into a struct, or an error that names the field, the value and what was expected."""

from __future__ import annotations

import asyncio
import difflib
import re
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from aiohttp import web

from agent.api.openai_errors import SlowClientError, too_large
from agent.api.parts import SETTINGS
from agent.errors import RequestError

DEPTH_LIMIT = 64
"""JSON nested deeper than this is refused: it would only be there to exhaust a parser's stack."""

_SHOWN_CHARACTERS = 60
_PATH = re.compile(r"^(.*?)(?: - at `(\$.*)`)?$", re.DOTALL)
_HALF_PAIR = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:(?<!\\u[dD][89abAB]..)(\\u[dD][c-fC-F]..)|\\u[dD][89abAB]..(?!\\u[dD][c-fC-F]))"
)
_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


class Body(msgspec.Struct, kw_only=True):
    """Base of all request bodies.

    `IGNORED` fields are OpenAI's, accepted without effect. `UNSUPPORTED` ones are known and refused with a reason
    unless null. `MEANT` maps what other servers call a field to what we do.
    """

    IGNORED: ClassVar[frozenset[str]] = frozenset()
    UNSUPPORTED: ClassVar[dict[str, str]] = {}
    MEANT: ClassVar[dict[str, str]] = {}


T = TypeVar("T", bound=Body)


async def read_body(request: web.Request) -> bytes:
    """The whole body. Raises `TooLargeError`, or `SlowClientError` when it takes too long to come in."""
    settings = request.app[SETTINGS]
    if (request.content_length or 0) > settings.body_limit_bytes:
        raise too_large(settings.body_limit_bytes)
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await request.read()
    except TimeoutError:
        raise SlowClientError(f"The body was not complete after {settings.body_timeout_s:g} s.") from None


async def decode(request: web.Request, kind: type[T]) -> T:
    """Reads and checks the body of `request`. Raises `RequestError`."""
    return parse(await read_body(request), kind)


def parse(body: bytes, kind: type[T]) -> T:
    """`body` (JSON) as a `kind`. Raises `RequestError`, with `param` set where a field is at fault."""
    raw = _parse_json(body)
    if not isinstance(raw, dict):
        raise RequestError("The body must be a JSON object.", hint='Send something like {"model": ...}.')
    return checked(raw, kind)


def checked(raw: dict[str, Any], kind: type[T], *, from_text: bool = False) -> T:
    """Fields by name as a `kind`. `from_text`: numbers and truth values are still text. Raises `RequestError`."""
    fields = {name: value for name, value in raw.items() if name not in kind.IGNORED}
    for name in fields.keys() - set(kind.__struct_fields__):
        if name not in kind.UNSUPPORTED:
            raise unknown_field(name, kind)
        if fields[name] is not None:
            raise RequestError(f"`{name}` is not supported.", hint=kind.UNSUPPORTED[name], param=name)
        del fields[name]
    for name, value in fields.items():
        check_portable(value, name)
    try:
        return msgspec.convert(fields, kind, strict=not from_text)
    except msgspec.ValidationError as error:
        raise _invalid(error, fields, kind) from None


def wrong(field: str, value: object, expected: str, hint: str = "") -> RequestError:
    """The error for a value that is not what `field` takes."""
    return RequestError(f"`{field}` is {shown(value)}; expected {expected}.", hint=hint, param=field)


def shown(value: object) -> str:
    """`value` as JSON, cut short."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def check_portable(value: Any, field: str) -> None:
    """Raises `RequestError` for what could not travel on: deep nesting, integers beyond 64 bits."""
    level = [value]
    for _ in range(DEPTH_LIMIT):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
            elif isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise wrong(field, item, "integers of at most 64 bits")
        if not deeper:
            return
        level = deeper
    raise RequestError(f"`{field}` is nested more than {DEPTH_LIMIT} levels deep.", param=field)


def _parse_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise RequestError("The JSON is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not body:
            raise RequestError("The body is empty; expected a JSON object.") from None
        try:
            body.decode()
        except UnicodeDecodeError as bad:
            raise RequestError(f"The body is not UTF-8 text (byte {bad.start}).") from None
        if (half := _HALF_PAIR.search(body)) is not None:
            raise RequestError(
                f"The body has {half[0].decode()}, half of a surrogate pair, which is no text (byte {half.start()}).",
                hint="Leave it out, or send the whole character.",
            ) from None
        problem = str(error) if "byte" in str(error) else f"{error} (byte {len(body)})"
        raise RequestError(f"The body is not valid JSON: {problem}.") from None


def takes(kind: type[Body], name: str) -> bool:
    """Whether a `kind` has anything to say about a field of that name."""
    return name in kind.__struct_fields__ or name in kind.IGNORED or name in kind.UNSUPPORTED


def unknown_field(name: str, kind: type[Body], *others: str) -> RequestError:
    """The error for a field that neither a `kind` has nor is one of `others`."""
    names = (*kind.__struct_fields__, *others)
    near = kind.MEANT.get(name) or next(iter(difflib.get_close_matches(name, names, n=1)), None)
    hint = f"Did you mean `{near}`?" if near else "docs/http.md lists the fields."
    return RequestError(f"Unknown field {shown(name)}.", hint=hint, param=name[:_SHOWN_CHARACTERS])


def _invalid(error: msgspec.ValidationError, fields: dict[str, Any], kind: type[Body]) -> RequestError:
    match = _PATH.match(str(error))
    problem, path = (match[1], match[2] or "$") if match else (str(error), "$")
    if missing := re.match(r"Object missing required field `(\w+)`", problem):
        at = path.removeprefix("$").removeprefix(".")
        name = f"{at}.{missing[1]}" if at else missing[1]
        return RequestError(f"`{name}` is missing.", hint="docs/http.md lists the fields.", param=name)
    if unknown := re.match(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        at = path.removeprefix("$").removeprefix(".")
        name = f"{at}.{unknown[1]}"[:_SHOWN_CHARACTERS]
        return RequestError(f"Unknown field {shown(name)}.", hint="docs/http.md lists the fields.", param=name)
    where = path.removeprefix("$.")
    name = re.split(r"[.\[]", where, maxsplit=1)[0]
    expected = _described(kind, name) or _translated(problem)
    return wrong(name, fields.get(name), expected) if where == name else wrong(where, _at(fields, where), expected)


def _described(kind: type[Body], name: str) -> str | None:
    """The description that the field's type carries, if any."""
    pending = [get_type_hints(kind, include_extras=True).get(name)]
    while pending:
        hint = pending.pop()
        if get_origin(hint) is Annotated:
            for extra in get_args(hint)[1:]:
                if isinstance(extra, msgspec.Meta) and extra.description:
                    return extra.description
        pending.extend(get_args(hint))
    return None


def _translated(problem: str) -> str:
    """msgspec's "Expected `int | null`, got `str`" in words."""
    match = re.match(r"Expected `([^`]+)`(.*?)(?:, got .*)?$", problem)
    if match is None:
        return problem[:1].lower() + problem[1:]
    kinds = [_WORDS.get(kind, kind) for kind in match[1].split(" | ") if kind != "null"]
    return " or ".join(kinds or ["null"]) + match[2]


def _at(fields: dict[str, Any], path: str) -> Any:
    """The value at msgspec's `name[3].key` path, as near as the path says (`[...]` is some key of an object)."""
    value: Any = fields
    for key, index in re.findall(r"(\w+)|\[(\d+)\]", path):
        try:
            value = value[int(index)] if index else value[key]
        except (KeyError, IndexError, TypeError):
            break
    return value
