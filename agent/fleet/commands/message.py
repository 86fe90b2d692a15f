"""What the payload of a command's topic says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import msgspec

from agent.fleet.commands.expiry import moment
from agent.fleet.topics import TOPIC_BYTES

Answered = Literal["executing", "successful", "failed"]
_ANSWERED: Final = frozenset(get_args(Answered))


@dataclass(frozen=True)
class Init:
    """A command. `expires_at` and `issued_at` are Unix times, by the sender's clock."""

    args: dict[str, Any]
    expires_at: float | None = None
    issued_at: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a device says of a command: usually this one, of its own."""

    status: str


@dataclass(frozen=True)
class Clear:
    """The topic is empty: the command is not wanted any more."""


@dataclass(frozen=True)
class Malformed:
    """`reason` is a sentence for whoever sent it."""

    reason: str


Message = Init | Answer | Clear | Malformed


def read_command(payload: bytes, oversized_bytes: int = 0) -> Message:
    """A message on `P/cmd/OPERATION/ID`. `oversized_bytes` is not 0 where the payload was too large to be taken."""
    if oversized_bytes:
        return _too_large(oversized_bytes)
    if not payload:
        return Clear()
    found = _object(payload)
    if isinstance(found, Malformed):
        return found
    status = found.get("status")
    if not isinstance(status, str):
        return Malformed('status is missing or no text: expected "init".')
    if status in _ANSWERED:
        return Answer(status)
    if status != "init":
        return Malformed(f'status = {status[:40]!r}: expected "init".')
    args = found.get("args", {})
    if args is None:
        args = {}
    if not isinstance(args, dict):
        return Malformed("args: expected an object.")
    times: dict[str, float | None] = {}
    for name in ("expires_at", "issued_at"):
        value = found.get(name)
        times[name] = None if value is None else moment(value)
        if value is not None and times[name] is None:
            return Malformed(f'{name}: expected Unix time in seconds, or ISO 8601 like "2030-01-31T12:00:00Z".')
    return Init(args, **times)


def read_request(payload: bytes, oversized_bytes: int = 0) -> Init | Malformed:
    """A message on `P/rpc/OPERATION`: the arguments themselves; nothing at all is none."""
    if oversized_bytes:
        return _too_large(oversized_bytes)
    found = _object(payload) if payload.strip() else {}
    return found if isinstance(found, Malformed) else Init(found)


def may_answer_on(topic: str, root: str) -> bool:
    """Whether a request's answer may go there. Not below the devices' own topics: nobody makes this device command
    another one, or speak for it."""
    size_bytes = len(topic.encode(errors="replace"))
    plain = 0 < size_bytes <= TOPIC_BYTES and not topic.startswith("$") and not any(sign in topic for sign in "+#\0")
    return plain and not f"{topic}/".startswith(f"{root}/device/")


def _object(payload: bytes) -> dict[str, Any] | Malformed:
    try:
        found = msgspec.json.decode(payload)
    except RecursionError:
        return Malformed("The message is nested too deeply.")
    except (msgspec.DecodeError, ValueError) as error:
        return Malformed(f"The message is not valid JSON: {error}.")
    return found if isinstance(found, dict) else Malformed("The message is no JSON object.")


def _too_large(size_bytes: int) -> Malformed:
    return Malformed(f"The message has {size_bytes:,} bytes, more than this device takes.")
