"""Nothing leads out of a final state; what a restart finds ends, or goes on."""

from __future__ import annotations

import itertools

import pytest

from agent.fleet.commands.states import (
    ATTEMPTS,
    CANCELLED,
    EXPIRED,
    HARMFUL,
    INTERRUPTED,
    MOVES,
    NOT_ALLOWED,
    End,
    IllegalMoveError,
    Move,
    State,
    Unfinished,
    moved,
    resumed,
)

Q, E = State.QUEUED, State.EXECUTING


@pytest.mark.parametrize(("state", "move"), list(itertools.product(State, Move)))
def test_a_move_is_in_the_table_or_raises(state: State, move: Move) -> None:
    if (state, move) in MOVES:
        assert moved(state, move) is MOVES[state, move]
        assert not state.final
    else:
        with pytest.raises(IllegalMoveError):
            moved(state, move)


def test_the_words_that_are_published() -> None:
    assert [state.status for state in State] == ["init", "executing", "successful", "failed"]


@pytest.mark.parametrize(
    ("found", "end"),
    [
        (Unfinished(state=Q), None),
        (Unfinished(state=Q, repeatable=True), None),
        (Unfinished(state=Q, expired=True), EXPIRED),
        (Unfinished(state=Q, cleared=True), CANCELLED),
        (Unfinished(state=Q, cleared=True, expired=True), CANCELLED),
        (Unfinished(state=Q, possible=False), NOT_ALLOWED),
        (Unfinished(state=Q, recognized=True), None),
        (Unfinished(state=E, repeatable=True), None),
        (Unfinished(state=E, repeatable=True, expired=True), None),
        (Unfinished(state=E, repeatable=True, cleared=True), CANCELLED),
        (Unfinished(state=E, repeatable=True, possible=False), NOT_ALLOWED),
        (Unfinished(state=E, repeatable=True, attempts=ATTEMPTS - 1), None),
        (Unfinished(state=E, repeatable=True, attempts=ATTEMPTS), HARMFUL),
        (Unfinished(state=E), INTERRUPTED),
        (Unfinished(state=E, cleared=True), INTERRUPTED),
        (Unfinished(state=E, possible=False), INTERRUPTED),
        (Unfinished(state=E, recognized=True), End(State.SUCCESSFUL)),
        (Unfinished(state=E, recognized=True, possible=False), End(State.SUCCESSFUL)),
        (Unfinished(state=E, recognized=True, cleared=True), End(State.SUCCESSFUL)),
    ],
)
def test_what_becomes_of_it_after_a_restart(found: Unfinished, end: End | None) -> None:
    assert resumed(found) == end


def test_what_is_not_repeatable_and_was_begun_never_goes_on() -> None:
    for cleared, expired, possible, attempts in itertools.product((False, True), (False, True), (False, True), (0, 9)):
        found = Unfinished(state=E, cleared=cleared, expired=expired, possible=possible, attempts=attempts)
        assert resumed(found) is not None
