"""The microphone's life as a table: (state, move) -> state. Values in, values out; an illegal move raises.

closed --start--> opening --opened--> open --silent, ended--> lost --retry--> opening
                     |
                     +--refused, hung--> failed --retry--> opening            stop: closed, from everywhere
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.speech.source import DeviceState


class Move(StrEnum):
    START = "start"
    OPENED = "opened"
    """the first sound has come"""
    REFUSED = "refused"
    """there is no such device, or it cannot be opened"""
    HUNG = "hung"
    """it did not open in time"""
    SILENT = "silent"
    """no sound for too long"""
    ENDED = "ended"
    """unplugged, or the sound server is gone"""
    RETRY = "retry"
    STOP = "stop"


TABLE: dict[tuple[DeviceState, Move], DeviceState] = {
    ("closed", Move.START): "opening",
    ("opening", Move.OPENED): "open",
    ("opening", Move.REFUSED): "failed",
    ("opening", Move.HUNG): "failed",
    ("opening", Move.ENDED): "failed",
    ("opening", Move.STOP): "closed",
    ("open", Move.SILENT): "lost",
    ("open", Move.ENDED): "lost",
    ("open", Move.STOP): "closed",
    ("lost", Move.RETRY): "opening",
    ("lost", Move.STOP): "closed",
    ("failed", Move.RETRY): "opening",
    ("failed", Move.STOP): "closed",
    ("closed", Move.STOP): "closed",
}


class IllegalMoveError(RuntimeError):
    """A bug in the caller: the table has no such move."""


@dataclass(frozen=True, kw_only=True)
class CaptureLimits:
    """`open_s` is from starting the process to the first sound: PulseAudio takes 2 s for that. `silent_s` without
    sound is a hang; shorter stalls end with all that was held back. `backoff_s` are the waits before the first,
    second, ... attempt to open again; the last one repeats."""

    open_s: float = 8.0
    silent_s: float = 3.5
    backoff_s: tuple[float, ...] = (0.1, 0.5, 1.0, 1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrophoneLife:
    """`attempts` counts openings since the device was last open. `retry_s` is the wait before the next one."""

    state: DeviceState = "closed"
    attempts: int = 0
    retry_s: float | None = None
    reason: str = ""
    hint: str = ""


def advance(
    life: MicrophoneLife, move: Move, *, limits: CaptureLimits, reason: str = "", hint: str = ""
) -> MicrophoneLife:
    """The life after `move`. Raises `IllegalMoveError` for a move that the state does not have."""
    state = TABLE.get((life.state, move))
    if state is None:
        raise IllegalMoveError(f"a microphone that is {life.state} has no move {move}")
    attempts = 0 if state in ("open", "closed") else life.attempts + (state == "opening")
    retry_s = None
    if state in ("lost", "failed"):
        retry_s = limits.backoff_s[min(attempts, len(limits.backoff_s) - 1)]
    return MicrophoneLife(state=state, attempts=attempts, retry_s=retry_s, reason=reason, hint=hint)
