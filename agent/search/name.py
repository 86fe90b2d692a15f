"""What a collection may be called: its name becomes part of a path."""

from __future__ import annotations

import re
from typing import Final

from agent.errors import RequestError

SUFFIX: Final = ".sqlite3"
NAME_LIMIT: Final = 64
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> None:
    """Raises `RequestError` (param `collection`) for what cannot be a collection's name, and so part of a path."""
    if NAME.fullmatch(name) is None or ".." in name or name.lower().endswith(SUFFIX):
        raise RequestError(
            f"{name[:80]!a} cannot name a collection.",
            hint=f"Use 1 to {NAME_LIMIT} letters, digits, '.', '_' or '-', starting with a letter or digit, no '..'.",
            param="collection",
        )
