"""Text that somebody else wrote, as a terminal may show it: nothing in it is obeyed."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from agent.commands.columns import cut

LONGEST: Final = 100_000
_REST = r"\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
"""DEL and the 8-bit controls, half surrogate pairs, line separators, and what is not seen or turns the direction of
what follows."""
_UNSAFE = re.compile(rf"[\x00-\x1f{_REST}]")
_UNSAFE_IN_JSON = re.compile(f"[{_REST}]")


def printable(text: str, width: int | None = None) -> str:
    """One line, with escapes for what is no plain character; of at most `width` columns."""
    text = _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text[:LONGEST])
    return text if width is None else cut(text, width)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The same value as JSON, in which such characters are escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=None if indent else (",", ":"))
    return _UNSAFE_IN_JSON.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
