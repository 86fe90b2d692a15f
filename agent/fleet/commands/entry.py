"""One command as the journal has it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from agent.fleet.commands.expiry import Deadline
from agent.fleet.commands.states import State


class Key(NamedTuple):
    """What makes a command the same one. A request over `P/rpc` has no id of its own: `id` is one that we gave it."""

    operation: str
    id: str
    rpc: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`request` is the payload as it came, None where it was not kept; `result` JSON. `said` is the state that the
    broker has confirmed, `piece_count` into how many messages the result was cut. `granted_s` is when
    it was granted, by the journal's own time (`Journal.now_s`), 0 if it was not. `seq` 0: it is in no journal."""

    key: Key
    digest: bytes
    state: State
    deadline: Deadline
    seq: int = 0
    packet_id: int = 0
    request: bytes | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    granted_s: float = 0.0
    said: State | None = None
    cleared: bool = False
    attempts: int = 0
    instance: str = ""
    result: bytes | None = None
    reason: str = ""
    code: str = ""
    piece_count: int = 0

    def ended(self, state: State, *, result: bytes | None = None, reason: str = "", code: str = "") -> Entry:
        return replace(self, state=state, result=result, reason=reason, code=code)


def digest_of(payload: bytes, response_topic: str | None = None, correlation: bytes | None = None) -> bytes:
    """What makes two messages the same: for requests with where the answer goes."""
    hashed = hashlib.sha256(payload)
    if response_topic is not None or correlation is not None:
        topic = (response_topic or "").encode()
        hashed.update(b"\0%d\0%b%b" % (len(topic), topic, correlation or b""))
    return hashed.digest()
