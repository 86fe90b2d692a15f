from __future__ import annotations

import pytest

from agent.runtime.lifecycle import TABLE, IllegalMoveError, Life, Move, State, advance, backoff_s, completed, may_try
from agent.runtime.spec import Limits

LIMITS = Limits()
U, L, R, X, B, F = (
    State.UNLOADED,
    State.LOADING,
    State.READY,
    State.UNLOADING,
    State.BACKOFF,
    State.FAILED,
)


def walk(*moves: Move, life: Life | None = None) -> Life:
    life = life or Life()
    for move in moves:
        life = advance(life, move, now=0, limits=LIMITS)
    return life


@pytest.mark.parametrize(
    ("moves", "state"),
    [
        ([Move.WANT], L),
        ([Move.WANT, Move.LOADED], R),
        ([Move.WANT, Move.LOADED, Move.UNLOAD], X),
        ([Move.WANT, Move.LOADED, Move.UNLOAD, Move.EXITED], U),
        ([Move.WANT, Move.LOADED, Move.UNLOAD, Move.CRASHED], U),
        ([Move.WANT, Move.UNLOAD, Move.EXITED], U),
        ([Move.WANT, Move.NO_ROOM], U),
        ([Move.WANT, Move.REFUSED], F),
        ([Move.WANT, Move.REFUSED, Move.REVIVE], U),
        ([Move.WANT, Move.CRASHED], B),
        ([Move.WANT, Move.LOADED, Move.CRASHED], B),
        ([Move.WANT, Move.CRASHED, Move.RETRY], L),
        ([Move.WANT, Move.CRASHED, Move.UNLOAD], U),
        ([Move.WANT, Move.UNLOAD, Move.REFUSED], F),
    ],
)
def test_walks(moves: list[Move], state: State) -> None:
    assert walk(*moves).state is state


def test_whatever_the_table_lacks_raises_and_changes_nothing() -> None:
    for state in State:
        for move in Move:
            life = Life(state=state)
            if (state, move) in TABLE:
                assert advance(life, move, now=1, limits=LIMITS).state in (TABLE[state, move], F)
            else:
                with pytest.raises(IllegalMoveError):
                    advance(life, move, now=1, limits=LIMITS)
                assert life == Life(state=state)


def test_every_state_can_be_left() -> None:
    assert {state for state, _ in TABLE} == set(State) == set(TABLE.values())


def test_the_fifth_crash_in_a_row_is_the_last() -> None:
    life = walk(Move.WANT)
    for crash in range(1, LIMITS.crash_limit):
        life = walk(Move.CRASHED, life=life)
        assert (life.state, life.crashes) == (B, crash)
        life = walk(Move.RETRY, Move.LOADED, life=life)
    life = walk(Move.CRASHED, life=life)
    assert life.state is F
    assert life.retry_at is None
    assert not may_try(life, 1e9)
    revived = walk(Move.REVIVE, life=life)
    assert (revived.state, revived.crashes) == (U, 0)


def test_a_completed_request_forgives_the_crashes_before_it() -> None:
    life = walk(Move.WANT, Move.CRASHED, Move.RETRY, Move.CRASHED, Move.RETRY, Move.LOADED)
    assert life.crashes == 2
    assert completed(life).crashes == 0
    assert completed(life).state is R


def test_unloading_does_not_forgive_crashes() -> None:
    life = walk(Move.WANT, Move.CRASHED, Move.UNLOAD, Move.WANT, Move.LOADED, Move.UNLOAD, Move.EXITED)
    assert life.crashes == 1


def test_a_model_that_cannot_be_loaded_may_be_tried_again_after_a_while() -> None:
    life = advance(walk(Move.WANT), Move.REFUSED, now=100, limits=LIMITS, reason="corrupt")
    assert life.reason == "corrupt"
    assert not may_try(life, 100 + LIMITS.load_retry_s - 0.1)
    assert may_try(life, 100 + LIMITS.load_retry_s)


@pytest.mark.parametrize(
    ("crashes", "delay_s"),
    [(1, 0.1), (2, 0.5), (3, 1), (4, 2), (5, 4), (6, 8), (7, 16), (8, 30), (100, 30)],
)
def test_backoff(crashes: int, delay_s: float) -> None:
    assert backoff_s(crashes, LIMITS) == delay_s


@pytest.mark.parametrize(("jitter", "retry_at"), [(0.0, 10.08), (0.5, 10.1), (1.0, 10.12)])
def test_jitter_spreads_the_restarts(jitter: float, retry_at: float) -> None:
    life = advance(walk(Move.WANT), Move.CRASHED, now=10, limits=LIMITS, jitter=jitter)
    assert life.retry_at == pytest.approx(retry_at)
