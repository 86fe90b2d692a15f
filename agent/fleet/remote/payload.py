"""What any device may have sent, made safe to look at. Pure: bytes in, bounded values out."""

from __future__ import annotations

import json
import zlib
from typing import Any, Final

import msgspec

DEPTH: Final = 32
"""Deepest nesting: what is deeper could not be printed again."""
INFLATED_BYTES: Final = 4 * 1024 * 1024
TEXT_CHARACTERS: Final = 2_000


class GarbledError(ValueError):
    """Not what a device of ours sends; the text says why."""


def read(payload: bytes, *, oversized_bytes: int = 0) -> Any:
    """The JSON of a payload. Raises `GarbledError`."""
    if oversized_bytes:
        raise GarbledError(f"a message of {oversized_bytes:,} bytes, larger than is taken here")
    try:
        found = msgspec.json.decode(payload)
    except RecursionError:
        raise GarbledError("JSON that is nested too deeply") from None
    except (msgspec.DecodeError, ValueError):
        raise GarbledError("no JSON") from None
    if not _shallow(found):
        raise GarbledError("JSON that is nested too deeply")
    return found


def read_object(payload: bytes, *, oversized_bytes: int = 0) -> dict[str, Any]:
    """Raises `GarbledError`, also for JSON that is no object."""
    found = read(payload, oversized_bytes=oversized_bytes)
    if not isinstance(found, dict):
        raise GarbledError("JSON that is no object")
    return found


def inflated(payload: bytes) -> bytes:
    """Telemetry may be deflated (zlib). Raises `GarbledError`, also where it would not end."""
    if payload[:1] in (b"{", b"["):
        return payload
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(payload, INFLATED_BYTES)
    except zlib.error:
        raise GarbledError("no JSON") from None
    if not inflate.eof:
        raise GarbledError("a deflated message that is cut short, or too long")
    return plain


def text_of(value: Any) -> str:
    """A value that should be a text, as one; cut where it is long."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= TEXT_CHARACTERS else text[:TEXT_CHARACTERS] + "..."


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, dict | list)
        ]
        if not level:
            return True
    return False
