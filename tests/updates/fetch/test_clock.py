"""The least that the time can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.updates.fetch.clock import RELEASE, RELEASED, believed_time, note_time
from agent.version import version


def test_the_day_of_the_release_is_that_of_this_version() -> None:
    """A new version needs its day: agent/updates/fetch/clock.py."""
    assert RELEASE[0] == version()


def test_a_release_does_not_lie_in_the_future() -> None:
    """Else every signature would be taken for an old one."""
    assert datetime.now(UTC) >= RELEASED


@pytest.mark.parametrize(
    ("wall_days", "noted_days", "believed_days"),
    [
        (1, None, 1),
        (-20_000, None, 0),
        (-20_000, 5, 5),
        (7, 5, 7),
        (-20_000, -3, 0),
    ],
    ids=["a clock that is right", "1970", "1970, after better times", "later than noted", "a note of another release"],
)
def test_the_latest_of_what_is_known(
    tmp_path: Path, wall_days: int, noted_days: int | None, believed_days: int
) -> None:
    note = tmp_path / "clock"
    if noted_days is not None:
        note_time(RELEASED + timedelta(days=noted_days), note)
    wall_s = max(0.0, (RELEASED + timedelta(days=wall_days)).timestamp())
    assert believed_time(wall_s, note) == RELEASED + timedelta(days=believed_days)


@pytest.mark.parametrize("noted", [b"", b"yesterday", b"nan", b"inf", b"-inf", b"\xff", b"1e300"])
def test_a_note_that_makes_no_sense(tmp_path: Path, noted: bytes) -> None:
    note = tmp_path / "clock"
    note.write_bytes(noted)
    assert believed_time(0.0, note) == RELEASED
    later = RELEASED + timedelta(days=30)
    assert believed_time(later.timestamp(), note) == later
