"""Until when a command may begin, on a device whose clock may be wrong. Pure; times in seconds.

`expires_at` is a time of day, and the device's may be years off. So two things end a command, whichever comes first:
the time of day reaches `expires_at`, or, whatever the clock does, the command has been here for as long as it had left
when it came. What it had left: until `expires_at`, by the device's clock or by the sender's (`issued_at`), whichever is
later; and the message expiry of MQTT 5, which the broker counts down itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """`left_s` counts from the arrival: `arrived_up_s` on a clock that nobody sets, `arrived_wall_s` by time of day,
    in the boot `boot`. None is without end."""

    expires_at: float | None
    left_s: float | None
    arrived_up_s: float
    arrived_wall_s: float
    boot: str

    def over(self, *, up_s: float, wall_s: float, boot: str) -> bool:
        if self.expires_at is not None and wall_s >= self.expires_at:
            return True
        return self.left_s is not None and self._age_s(up_s, wall_s, boot) >= self.left_s

    def remaining_s(self, *, up_s: float, wall_s: float, boot: str) -> float:
        """How long it may still begin, as far as can be told; infinite without an end."""
        by_wall = math.inf if self.expires_at is None else self.expires_at - wall_s
        by_age = math.inf if self.left_s is None else self.left_s - self._age_s(up_s, wall_s, boot)
        return max(0.0, min(by_wall, by_age))

    def _age_s(self, up_s: float, wall_s: float, boot: str) -> float:
        """After another boot only the time of day is left to tell."""
        return up_s - self.arrived_up_s if boot == self.boot else max(0.0, wall_s - self.arrived_wall_s)


def left_at_arrival_s(
    *, expires_at: float | None, issued_at: float | None, message_expiry_s: float | None, wall_s: float
) -> float | None:
    """How long a command that has just come may still begin; 0 or less: not at all. None: for ever."""
    bounds = []
    if expires_at is not None:
        bounds.append(expires_at - max(wall_s, issued_at if issued_at is not None else -math.inf))
    if message_expiry_s is not None:
        bounds.append(float(message_expiry_s))
    return min(bounds, default=None)


def moment(value: object) -> float | None:
    """Unix time from a number or from ISO 8601 text (UTC where it does not say); None for what is neither."""
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    return None
