"""kill -9 of a real daemon on the way through an update, with and without its children. All states and a hundred random
moments are in benchmarks/updates/kills.py."""

from __future__ import annotations

from pathlib import Path

from agent.chunks.index import MAX_CHUNK_BYTES
from agent.updates.states import State
from benchmarks.updates.lives import Seen, at_states
from benchmarks.updates.scene import GOOD, staged

KILLS = [(State.FETCHING, True), (State.SWITCHING, False)]


def test_killed_in_state_after_state_it_goes_on_to_its_end(tmp_path: Path) -> None:
    """After each kill the old or the new version answers with its own text, and the store is whole."""
    seen = Seen()
    with staged(tmp_path) as scene:
        assert at_states(scene, seen, GOOD, KILLS) == [state for state, _ in KILLS]
    assert seen.ends == {State.COMMITTED: 1}
    (again,), (in_sockets,) = seen.again, seen.in_sockets
    assert again - in_sockets <= MAX_CHUNK_BYTES
