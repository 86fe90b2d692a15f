from __future__ import annotations

import pytest

from agent.hardware.sensors.turns import Turns
from agent.runtime.crowding import Crowding

Look = tuple[int | None, Turns | None]
BEGIN: Look = (7, Turns(5.0, 9.0))
"""It gave way until then."""


@pytest.mark.parametrize(
    ("what", "cores", "looks", "share"),
    [
        ("nothing is known", 2, [], 0.0),
        ("nobody counts turns", 2, [(7, None), (7, None)], 0.0),
        ("what was before the first look", 2, [BEGIN], 0.0),
        ("it did nothing", 2, [BEGIN, BEGIN], 0.0),
        ("it had all it wanted", 2, [BEGIN, (7, Turns(15.0, 9.0))], 0.0),
        ("one thread, one core, half of it", 1, [BEGIN, (7, Turns(9.0, 13.0))], 0.5),
        ("two threads: one waits, the other spins", 2, [BEGIN, (7, Turns(17.0, 13.0))], 0.5),
        ("it mostly waited", 4, [BEGIN, (7, Turns(6.0, 19.0))], 1.0),
        ("two looks add up", 1, [BEGIN, (7, Turns(7.0, 11.0)), (7, Turns(9.0, 13.0))], 0.5),
        ("another worker", 1, [BEGIN, (7, Turns(9.0, 13.0)), (8, Turns(1.0, 1.0)), (8, Turns(5.0, 1.0))], 1 / 3),
        ("unloaded for a while", 1, [BEGIN, (7, Turns(9.0, 13.0)), (None, None), (8, Turns(4.0, 9.0))], 0.5),
        ("a thread has ended", 1, [BEGIN, (7, Turns(1.0, 0.0)), (7, Turns(3.0, 2.0))], 0.5),
    ],
)
def test_how_much_others_had(what: str, cores: int, looks: list[Look], share: float) -> None:
    crowding = Crowding(cores)
    for pid, turns in looks:
        crowding.take(pid, turns)
    assert crowding.share == pytest.approx(share), what
