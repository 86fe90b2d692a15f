"""What time it is at least, on a device whose clock may have stopped in 1970.

The latest of three: the system's clock, the time that was believed when metadata was last found good, and the day of
this release. The second cannot run away: what was found good had not expired by then, so it lies before the
publisher's own dates.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.store.durable import Filesystem

RELEASE: Final = ("0.1.0", datetime(2026, 11, 21, tzinfo=UTC))
"""A version and the day it was released: whoever raises the version sets the day, or the tests fail."""
RELEASED: Final = RELEASE[1]
_YEAR_10000_S: Final = 253_402_300_800.0
_STEP_S: Final = 3600.0
"""The note is written anew when it is older than that: flash wears."""


def believed_time(wall_s: float, note: Path) -> datetime:
    """`wall_s` is Unix time as the system says; `note` holds the time that was believed last."""
    with contextlib.suppress(OverflowError, OSError, ValueError):
        return max(datetime.fromtimestamp(max(wall_s, _noted_s(note)), UTC), RELEASED)
    return RELEASED


def note_time(time: datetime, note: Path) -> None:
    """Metadata was found good at that time. Raises `OSError`."""
    if time.timestamp() >= _noted_s(note) + _STEP_S:
        temporary = note.with_name(f".{note.name}")
        temporary.unlink(missing_ok=True)
        Filesystem().replace_file(note, f"{time.timestamp():.0f}\n".encode(), temporary=temporary)


def _noted_s(note: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        noted_s = float(note.read_text("ascii")[:32])
        return noted_s if noted_s < _YEAR_10000_S else 0.0
    return 0.0
