"""One model's life as a table: (state, move) -> state. Values in, values out; an illegal move raises, changing nothing.

unloaded --want--> loading --loaded--> ready --unload--> unloading --exited--> unloaded
                      |                  |
                      |                  +--crashed--> backoff --retry--> loading
                      +--crashed--> backoff            backoff --unload--> unloaded
                      +--no_room--> unloaded
                      +--refused--> failed --revive--> unloaded     (also after too many crashes)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from agent.runtime.spec import Limits


class State(StrEnum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    BACKOFF = "backoff"
    FAILED = "failed"


class Move(StrEnum):
    WANT = "want"
    """somebody needs the model"""
    LOADED = "loaded"
    REFUSED = "refused"
    """the worker says that it cannot load this model"""
    NO_ROOM = "no_room"
    """the ledger says that it does not fit"""
    CRASHED = "crashed"
    GAVE_UP = "gave_up"
    """crashed, once too often; `advance` makes it of CRASHED"""
    RETRY = "retry"
    UNLOAD = "unload"
    """finish what runs, then exit; while loading, exit at once"""
    EXITED = "exited"
    REVIVE = "revive"


TABLE: dict[tuple[State, Move], State] = {
    (State.UNLOADED, Move.WANT): State.LOADING,
    (State.LOADING, Move.LOADED): State.READY,
    (State.LOADING, Move.REFUSED): State.FAILED,
    (State.LOADING, Move.NO_ROOM): State.UNLOADED,
    (State.LOADING, Move.CRASHED): State.BACKOFF,
    (State.LOADING, Move.GAVE_UP): State.FAILED,
    (State.LOADING, Move.UNLOAD): State.UNLOADING,
    (State.READY, Move.CRASHED): State.BACKOFF,
    (State.READY, Move.GAVE_UP): State.FAILED,
    (State.READY, Move.UNLOAD): State.UNLOADING,
    (State.UNLOADING, Move.EXITED): State.UNLOADED,
    (State.UNLOADING, Move.CRASHED): State.UNLOADED,
    (State.UNLOADING, Move.GAVE_UP): State.FAILED,
    (State.UNLOADING, Move.REFUSED): State.FAILED,  # its answer crossed the order to unload
    (State.UNLOADING, Move.NO_ROOM): State.UNLOADED,
    (State.BACKOFF, Move.RETRY): State.LOADING,
    (State.BACKOFF, Move.UNLOAD): State.UNLOADED,
    (State.FAILED, Move.REVIVE): State.UNLOADED,
}


class IllegalMoveError(RuntimeError):
    """A bug in the caller: the table has no such move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """`crashes` counts since the last request that completed. `retry_at` is when a backoff ends, or when a failed
    model may be tried again by a request (None: only by an explicit load). `since` is when the state began."""

    state: State = State.UNLOADED
    reason: str = ""
    crashes: int = 0
    retry_at: float | None = None
    since: float = 0.0


def advance(life: Life, move: Move, *, now: float, limits: Limits, reason: str = "", jitter: float = 0.5) -> Life:
    """The life after `move`. `jitter` in [0, 1) spreads a backoff over 0.8 to 1.2 of its length.

    Raises `IllegalMoveError` for a move that the state does not have.
    """
    crashes = life.crashes + 1 if move is Move.CRASHED else life.crashes
    if move is Move.CRASHED and crashes >= limits.crash_limit:
        move = Move.GAVE_UP
    state = TABLE.get((life.state, move))
    if state is None:
        raise IllegalMoveError(f"a model that is {life.state} has no move {move}")
    retry_at: float | None = None
    if state is State.BACKOFF:
        retry_at = now + backoff_s(crashes, limits) * (0.8 + 0.4 * jitter)
    elif move is Move.REFUSED:
        retry_at = now + limits.load_retry_s
    elif move is Move.REVIVE:
        crashes = 0
    return Life(state=state, reason=reason, crashes=crashes, retry_at=retry_at, since=now)


def completed(life: Life) -> Life:
    """A request ran to its end: earlier crashes no longer count."""
    return replace(life, crashes=0) if life.crashes else life


def may_try(life: Life, now: float) -> bool:
    """Whether a request may wait for this model; a failed one is tried again when its error allows."""
    return life.state is not State.FAILED or (life.retry_at is not None and now >= life.retry_at)


def backoff_s(crashes: int, limits: Limits) -> float:
    """How long to wait after the `crashes`-th crash in a row: the listed delays, then doubling up to the cap."""
    first = limits.backoff_first_s
    if crashes <= len(first):
        return min(first[crashes - 1], limits.backoff_cap_s)
    return float(min(first[-1] * 2.0 ** (crashes - len(first)), limits.backoff_cap_s))
