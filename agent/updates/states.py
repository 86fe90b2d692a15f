"""An update's life as a table: (state, move) -> state. Pure; an illegal move raises and changes nothing.

`python -m agent.updates.states` prints the drawing that docs/updates.md shows; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """The names stand in the journal: never change one."""

    WANTED = "wanted"
    """asked for; the repository has not been asked yet"""
    FETCHING = "fetching"
    """the version is known and signed; its files come"""
    STAGED = "staged"
    """every file is here, whole and checked, out of sight of the store"""
    TRYING = "trying"
    """a version in the store, not active; it is loaded and tested"""
    PASSED = "passed"
    """waits for a good moment to take over"""
    SWITCHING = "switching"
    """from here on the old or the new version is the active one"""
    PROBATION = "probation"
    """serves, and is watched"""
    REVERTING = "reverting"
    """it has failed in service: the version before comes back"""
    RETURNING = "returning"
    """nobody wants it any more: the version before comes back"""
    REJECTING = "rejecting"
    """its hash is remembered; its files are removed"""
    CANCELLING = "cancelling"
    """its files are removed"""

    COMMITTED = "committed"
    """it is the model's version now"""
    REJECTED = "rejected"
    """tested and not good enough; never tried again"""
    CANCELLED = "cancelled"
    """nobody wants it any more"""
    FAILED = "failed"
    """it could not be got or tried; it may be asked for again"""

    @property
    def final(self) -> bool:
        return self in FINAL

    @property
    def in_service(self) -> bool:
        """Whether the candidate may be the active version."""
        return self in (State.SWITCHING, State.PROBATION, State.REVERTING, State.RETURNING)


class Move(StrEnum):
    """The names stand in the journal."""

    RESOLVE = "resolve"
    """the repository says which files it is; again after an interruption"""
    PRESENT = "present"
    """this version is in the store already"""
    CURRENT = "current"
    """this version is active already"""
    KNOWN_BAD = "known_bad"
    """it was rejected before"""
    FETCH = "fetch"
    ADOPT = "adopt"
    PASS = "pass"
    REFUSE = "refuse"
    """it is not fit: a bad manifest, a test that it failed, no start as the active version"""
    BEGIN = "begin"
    SWITCH = "switch"
    PROVE = "prove"
    """probation went well"""
    CONDEMN = "condemn"
    """probation did not"""
    DISPLACE = "displace"
    """somebody has made another version the active one"""
    REVERT = "revert"
    CLEAN = "clean"
    WITHDRAW = "withdraw"
    """it is not wanted any more"""
    GIVE_UP = "give_up"
    """too many attempts, or an error that no attempt mends"""


FINAL: Final = frozenset({State.COMMITTED, State.REJECTED, State.CANCELLED, State.FAILED})

TABLE: Final[dict[tuple[State, Move], State]] = {
    (State.WANTED, Move.RESOLVE): State.FETCHING,
    (State.WANTED, Move.PRESENT): State.TRYING,
    (State.WANTED, Move.CURRENT): State.COMMITTED,
    (State.WANTED, Move.KNOWN_BAD): State.REJECTED,
    (State.WANTED, Move.WITHDRAW): State.CANCELLED,
    (State.WANTED, Move.GIVE_UP): State.FAILED,
    (State.FETCHING, Move.RESOLVE): State.FETCHING,
    (State.FETCHING, Move.FETCH): State.STAGED,
    (State.FETCHING, Move.KNOWN_BAD): State.REJECTING,
    (State.FETCHING, Move.WITHDRAW): State.CANCELLING,
    (State.FETCHING, Move.GIVE_UP): State.FAILED,
    (State.STAGED, Move.ADOPT): State.TRYING,
    (State.STAGED, Move.REFUSE): State.REJECTING,
    (State.STAGED, Move.WITHDRAW): State.CANCELLING,
    (State.STAGED, Move.GIVE_UP): State.FAILED,
    (State.TRYING, Move.PASS): State.PASSED,
    (State.TRYING, Move.REFUSE): State.REJECTING,
    (State.TRYING, Move.WITHDRAW): State.CANCELLING,
    (State.TRYING, Move.GIVE_UP): State.FAILED,
    (State.PASSED, Move.BEGIN): State.SWITCHING,
    (State.PASSED, Move.WITHDRAW): State.CANCELLING,
    (State.SWITCHING, Move.SWITCH): State.PROBATION,
    (State.SWITCHING, Move.REFUSE): State.REVERTING,
    (State.SWITCHING, Move.GIVE_UP): State.RETURNING,
    (State.PROBATION, Move.PROVE): State.COMMITTED,
    (State.PROBATION, Move.CONDEMN): State.REVERTING,
    (State.PROBATION, Move.WITHDRAW): State.RETURNING,
    (State.PROBATION, Move.DISPLACE): State.CANCELLED,
    (State.REVERTING, Move.REVERT): State.REJECTING,
    (State.RETURNING, Move.REVERT): State.CANCELLING,
    (State.REJECTING, Move.CLEAN): State.REJECTED,
    (State.CANCELLING, Move.CLEAN): State.CANCELLED,
}


class IllegalMoveError(RuntimeError):
    """A bug in the caller: the table has no such move."""


def moved(state: State, move: Move) -> State:
    """Raises `IllegalMoveError`: a final state in particular never changes."""
    try:
        return TABLE[state, move]
    except KeyError:
        raise IllegalMoveError(f"an update that is {state} has no move {move}") from None


def may(state: State, move: Move) -> bool:
    return (state, move) in TABLE


def drawing() -> Iterator[str]:
    """The table as a Mermaid state diagram, line by line."""
    yield "stateDiagram-v2"
    yield f"    [*] --> {State.WANTED}"
    for (state, move), to in TABLE.items():
        yield f"    {state} --> {to}: {move.replace('_', ' ')}"
    for state in State:
        if state.final:
            yield f"    {state} --> [*]"


if __name__ == "__main__":
    print("\n".join(drawing()))
