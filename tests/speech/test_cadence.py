"""Partial passes that come less often, or not at all, while the board is slowed down."""

from __future__ import annotations

import pytest

from agent.speech.cadence import Cadence
from agent.speech.policy import Pace, Partials, begin, next_pass

PARTIALS = Partials(step_s=0.4, least_audio_s=0.6)


@pytest.mark.parametrize(
    ("ratio", "heard_s", "due"),
    [(1.0, 0.7, True), (2.0, 0.7, False), (2.0, 0.9, True), (None, 5.0, False)],
    ids=["as ever", "half as often: not yet", "half as often: now", "left out"],
)
def test_how_much_new_sound_a_partial_pass_needs(ratio: float | None, heard_s: float, due: bool) -> None:
    heard_to = round(heard_s * 16000)
    partials = Cadence(ratio).of(PARTIALS)
    kind = next_pass(begin(1, 0), Pace(), partials, heard_to=heard_to, voiced_end=heard_to, now=0.0)
    assert kind == ("partial" if due else None)


def test_it_changes_while_it_is_used() -> None:
    cadence = Cadence()
    assert cadence.of(PARTIALS) is PARTIALS
    cadence.ratio = 4.0
    assert cadence.of(PARTIALS).step_s == pytest.approx(1.6)
