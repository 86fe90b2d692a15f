"""What is published about a command. Pure.

The fields of the command come back in every state, those that nobody here knows too; long ones are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from agent.fleet.commands.entry import Entry
from agent.fleet.commands.states import State

ECHO_BYTES: Final = 8192
"""Of the command's own fields, so much comes back; a recording does not."""
_OURS: Final = frozenset({"status", "result", "result_pieces", "reason", "code", "attempts"})
_encode = msgspec.json.encode


def payload_of(entry: Entry, *, pieces: Mapping[str, Any] | None = None) -> bytes:
    """The state as JSON; `pieces` (see `manifest_of`) stands for the result."""
    fields: list[tuple[str, bytes]] = [("status", _encode(entry.state.status))]
    if not entry.key.rpc:
        fields += _echoed(entry.request)
    if entry.attempts > 1:
        fields.append(("attempts", _encode(entry.attempts)))
    if pieces is not None:
        fields.append(("result_pieces", _encode(pieces)))
    elif entry.result is not None:
        fields.append(("result", entry.result))
    if entry.reason:
        fields += [("reason", _encode(entry.reason)), ("code", _encode(entry.code))]
    elif entry.state is State.SUCCESSFUL and entry.result is None:
        fields.append(("reason", _encode("It came before and was done; its result is not kept any more.")))
    return b"{" + b",".join(_encode(name) + b":" + value for name, value in fields) + b"}"


def cut(result: bytes, room_bytes: int) -> list[bytes]:
    """At least one piece, none longer than `room_bytes`."""
    room_bytes = max(1, room_bytes)
    return [result[start : start + room_bytes] for start in range(0, len(result), room_bytes)] or [b""]


def manifest_of(topic: str, result: bytes, pieces: Sequence[bytes]) -> dict[str, Any]:
    """Put together, the payloads of `topic/0`, `topic/1`, ... are the result's JSON."""
    digest = hashlib.sha256(result).hexdigest()
    return {"topic": topic, "count": len(pieces), "bytes": len(result), "sha256": digest}


def trimmed(request: bytes | None) -> bytes | None:
    """What of a command has to be kept once it has ended: what comes back."""
    if request is None or len(request) <= ECHO_BYTES:
        return request
    return b"{" + b",".join(_encode(name) + b":" + value for name, value in _echoed(request)) + b"}"


def _echoed(request: bytes | None) -> list[tuple[str, bytes]]:
    if request is None:
        return []
    try:
        fields = msgspec.json.decode(request, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, ValueError):
        return []
    kept, left_out, room_bytes = [], [], ECHO_BYTES
    for name, raw in fields.items():
        if name in _OURS:
            continue
        value = bytes(raw)
        if len(name) + len(value) > room_bytes:
            left_out.append(name[:80])
        else:
            room_bytes -= len(name) + len(value)
            kept.append((name, value))
    if left_out:
        kept.append(("left_out", _encode(left_out[:20])))
    return kept
