"""A command's life: which states there are, what leads from one to another, what becomes of it after a restart. Pure.

QUEUED --begin--> EXECUTING --succeed--> SUCCESSFUL
  |                 |  ^
  |                 |  +-- begun again after an interruption (by way of QUEUED)
  +---- fail, cancel, expire ------------> FAILED
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Final

ATTEMPTS: Final = 10
"""A command that was interrupted so often, each time when it ran, may be what ends the daemon."""


class State(IntEnum):
    """The numbers stand in the journal: never change one."""

    QUEUED = 0
    EXECUTING = 1
    SUCCESSFUL = 2
    FAILED = 3

    @property
    def final(self) -> bool:
        return self in (State.SUCCESSFUL, State.FAILED)

    @property
    def status(self) -> str:
        """As it is published."""
        return {State.QUEUED: "init"}.get(self, self.name.lower())


class Move(Enum):
    BEGIN = "begin"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"
    INTERRUPT = "interrupt"


MOVES: Final[dict[tuple[State, Move], State]] = {
    (State.QUEUED, Move.BEGIN): State.EXECUTING,
    (State.QUEUED, Move.FAIL): State.FAILED,
    (State.QUEUED, Move.CANCEL): State.FAILED,
    (State.QUEUED, Move.EXPIRE): State.FAILED,
    (State.EXECUTING, Move.SUCCEED): State.SUCCESSFUL,
    (State.EXECUTING, Move.FAIL): State.FAILED,
    (State.EXECUTING, Move.CANCEL): State.FAILED,
    (State.EXECUTING, Move.INTERRUPT): State.QUEUED,
}


class IllegalMoveError(Exception):
    """A bug: nothing leads from this state to there."""


def moved(state: State, move: Move) -> State:
    """Raises `IllegalMoveError`: a final state in particular never changes."""
    try:
        return MOVES[state, move]
    except KeyError:
        raise IllegalMoveError(f"a command that is {state.name} cannot {move.value}") from None


@dataclass(frozen=True)
class End:
    """How a command ends: `result` with success, a sentence and its code without."""

    state: State
    result: Any = None
    reason: str = ""
    code: str = ""


def failed(reason: str, code: str) -> End:
    return End(State.FAILED, reason=reason, code=code)


CANCELLED: Final = failed("cancelled: the command was cleared", "cancelled")
EXPIRED: Final = failed("expired before it could begin", "expired")
INTERRUPTED: Final = failed("interrupted: it may have happened", "interrupted")
NOT_ALLOWED: Final = failed("interrupted, and no longer allowed on this device", "not_allowed")
HARMFUL: Final = failed(f"given up: the daemon ended {ATTEMPTS} times while it ran", "interrupted")


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What is known, after a start, of a command that had not ended.

    `recognized`: the operation itself sees that it has happened. `possible`: there is such an operation, and it is
    allowed. `attempts` counts how often it has begun.
    """

    state: State
    cleared: bool = False
    expired: bool = False
    repeatable: bool = False
    recognized: bool = False
    possible: bool = True
    attempts: int = 0


def resumed(found: Unfinished) -> End | None:
    """How such a command ends, or None: it goes on, from its beginning."""
    if found.state is State.EXECUTING:
        if found.recognized:
            return End(State.SUCCESSFUL)
        if not found.repeatable:
            return INTERRUPTED
    if found.cleared:
        return CANCELLED
    if not found.possible:
        return NOT_ALLOWED
    if found.state is State.EXECUTING:
        return HARMFUL if found.attempts >= ATTEMPTS else None
    return EXPIRED if found.expired else None
