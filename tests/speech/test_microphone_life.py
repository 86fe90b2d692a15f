"""The microphone's states."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from agent.speech.microphone_life import TABLE, CaptureLimits, IllegalMoveError, MicrophoneLife, Move, advance
from agent.speech.source import DeviceState

LIMITS = CaptureLimits(backoff_s=(0.1, 0.5, 1.0))
STATES: tuple[DeviceState, ...] = get_args(DeviceState)


def follow(moves: list[Move]) -> MicrophoneLife:
    life = MicrophoneLife()
    for move in moves:
        life = advance(life, move, limits=LIMITS)
    return life


@pytest.mark.parametrize(
    ("moves", "state", "retry_s"),
    [
        ([Move.START], "opening", None),
        ([Move.START, Move.OPENED], "open", None),
        ([Move.START, Move.REFUSED], "failed", 0.5),
        ([Move.START, Move.HUNG, Move.RETRY, Move.HUNG], "failed", 1.0),
        ([Move.START, Move.REFUSED, Move.RETRY, Move.REFUSED, Move.RETRY, Move.REFUSED], "failed", 1.0),
        ([Move.START, Move.OPENED, Move.ENDED], "lost", 0.1),
        ([Move.START, Move.OPENED, Move.SILENT, Move.RETRY, Move.REFUSED], "failed", 0.5),
        ([Move.START, Move.OPENED, Move.SILENT, Move.RETRY, Move.OPENED, Move.ENDED], "lost", 0.1),
        ([Move.START, Move.OPENED, Move.STOP], "closed", None),
    ],
)
def test_states(moves: list[Move], state: DeviceState, retry_s: float | None) -> None:
    life = follow(moves)
    assert (life.state, life.retry_s) == (state, retry_s)


@pytest.mark.parametrize(("state", "move"), sorted(set(product(STATES, Move)) - TABLE.keys()))
def test_every_other_move_is_illegal(state: DeviceState, move: Move) -> None:
    with pytest.raises(IllegalMoveError, match=f"{state} has no move {move}"):
        advance(MicrophoneLife(state=state), move, limits=LIMITS)


@pytest.mark.parametrize("state", STATES)
def test_it_can_be_closed_from_everywhere(state: DeviceState) -> None:
    assert advance(MicrophoneLife(state=state), Move.STOP, limits=LIMITS).state == "closed"
