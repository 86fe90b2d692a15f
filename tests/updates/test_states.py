from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from agent.updates.states import FINAL, TABLE, IllegalMoveError, Move, State, drawing, may, moved

PAGE = Path(__file__).resolve().parents[2] / "docs" / "updates.md"

LIVES: list[tuple[str, str, State]] = [
    ("a good version", "RESOLVE FETCH ADOPT PASS BEGIN SWITCH PROVE", State.COMMITTED),
    ("resumed while it came", "RESOLVE RESOLVE FETCH ADOPT PASS BEGIN SWITCH PROVE", State.COMMITTED),
    ("in the store already", "PRESENT PASS BEGIN SWITCH PROVE", State.COMMITTED),
    ("active already", "CURRENT", State.COMMITTED),
    ("rejected before", "KNOWN_BAD", State.REJECTED),
    ("published again with a hash that was rejected", "RESOLVE KNOWN_BAD CLEAN", State.REJECTED),
    ("no repository answers", "GIVE_UP", State.FAILED),
    ("the link stays away", "RESOLVE GIVE_UP", State.FAILED),
    ("no artifact", "RESOLVE FETCH REFUSE CLEAN", State.REJECTED),
    ("fails its tests", "RESOLVE FETCH ADOPT REFUSE CLEAN", State.REJECTED),
    ("cannot be tried", "RESOLVE FETCH ADOPT GIVE_UP", State.FAILED),
    ("does not serve", "RESOLVE FETCH ADOPT PASS BEGIN REFUSE REVERT CLEAN", State.REJECTED),
    ("cannot be switched to", "RESOLVE FETCH ADOPT PASS BEGIN GIVE_UP REVERT CLEAN", State.CANCELLED),
    ("crashes on probation", "RESOLVE FETCH ADOPT PASS BEGIN SWITCH CONDEMN REVERT CLEAN", State.REJECTED),
    ("rolled back by hand", "RESOLVE FETCH ADOPT PASS BEGIN SWITCH DISPLACE", State.CANCELLED),
    ("taken back at once", "WITHDRAW", State.CANCELLED),
    ("taken back while it came", "RESOLVE WITHDRAW CLEAN", State.CANCELLED),
    ("taken back while it was tried", "RESOLVE FETCH ADOPT WITHDRAW CLEAN", State.CANCELLED),
    ("taken back on probation", "RESOLVE FETCH ADOPT PASS BEGIN SWITCH WITHDRAW REVERT CLEAN", State.CANCELLED),
]


@pytest.mark.parametrize(("moves", "end"), [life[1:] for life in LIVES], ids=[life[0] for life in LIVES])
def test_a_life(moves: str, end: State) -> None:
    state = State.WANTED
    for move in moves.split():
        assert not state.final
        state = moved(state, Move[move])
    assert state is end


def test_what_the_table_lacks_is_illegal() -> None:
    for state, move in itertools.product(State, Move):
        assert may(state, move) == ((state, move) in TABLE)
        if (state, move) not in TABLE:
            with pytest.raises(IllegalMoveError, match=f"{state} has no move {move}"):
                moved(state, move)


def test_final_states_and_only_they_have_no_way_on() -> None:
    assert {state for state in State if not any(before is state for before, _ in TABLE)} == FINAL


def test_every_state_can_be_reached_and_can_end() -> None:
    reached, ending = {State.WANTED}, set(FINAL)
    for _ in State:
        reached |= {to for (state, _), to in TABLE.items() if state in reached}
        ending |= {state for (state, _), to in TABLE.items() if to in ending}
    assert reached == ending == set(State)


def test_a_candidate_that_may_be_active_never_ends_but_by_proof_or_by_the_way_back() -> None:
    """Or somebody else has chosen a version, which is not ours to undo."""
    ends = {(state, move) for (state, move), to in TABLE.items() if state.in_service and to.final}
    assert ends == {(State.PROBATION, Move.PROVE), (State.PROBATION, Move.DISPLACE)}


def test_it_is_tried_before_it_is_active() -> None:
    assert {state for (state, _), to in TABLE.items() if to is State.SWITCHING} == {State.PASSED}
    assert {state for (state, _), to in TABLE.items() if to is State.PASSED} == {State.TRYING}


def test_the_page_shows_the_table() -> None:
    assert "```mermaid\n" + "\n".join(drawing()) + "\n```" in PAGE.read_text()


def test_the_page_explains_every_state() -> None:
    page = PAGE.read_text()
    assert not [state for state in State if f"| `{state}` |" not in page]
