"""What a worker says when it cannot do something."""

from __future__ import annotations

import msgspec


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """An `EdgeAgentError` on the wire: `code` finds the class again (`agent.errors.by_code`)."""

    code: str
    message: str
    hint: str = ""
    param: str | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The request ends here, all its choices with it."""

    id: int
    error: WireError
