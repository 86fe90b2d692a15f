"""How large the next message of a backlog is, and how soon it may follow. Pure.

A message costs a dozen wake-ups of three threads and of the broker, whatever is in it. Beside a model that computes on
all cores those cost more than the bytes, and each finds caches that hold the model: so few large ones go, and one right
after the other. On a slow line a large one would keep an alarm waiting, and on a bad one it might never arrive; so the
first are small, and larger ones follow while they arrive soon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

BURST: Final = 14
BURST_EVERY_S: Final = 1.0
"""While the device is busy, so many messages go one after the other in so many seconds: 1.6 MB a second at most."""
FIRST_BYTES: Final = 32 * 1024
SMALLEST_BYTES: Final = 8 * 1024
SOON_S: Final = 0.5
LATE_S: Final = 2.0
"""An alarm may have to wait for so long behind what is on the line already."""
DOUBT_S: Final = 600.0
"""So long no message is as large as one that was on its way when the connection ended: under MQTT 3.1.1 a broker has
no other way to say that it takes none so large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Sizes are payloads before they are deflated: `size_bytes` is the longest one now, `limit_bytes` the longest
    ever."""

    limit_bytes: int
    size_bytes: int
    doubted_bytes: int = 0
    doubted_until: float = 0.0


def begun(limit_bytes: int) -> Pace:
    return Pace(limit_bytes=limit_bytes, size_bytes=min(limit_bytes, FIRST_BYTES))


def arrived(pace: Pace, size_bytes: int, took_s: float, *, now: float) -> Pace:
    """The broker has confirmed a message, `took_s` after it was handed to the link."""
    if took_s > LATE_S:
        return _at_most(pace, size_bytes // 2)
    if took_s > SOON_S or size_bytes * 2 < pace.size_bytes:  # a short one says nothing of longer ones
        return pace
    limit_bytes = min(pace.limit_bytes, pace.doubted_bytes // 2) if now < pace.doubted_until else pace.limit_bytes
    return replace(pace, size_bytes=max(pace.size_bytes, min(limit_bytes, pace.size_bytes * 2)))


def lost(pace: Pace, size_bytes: int, *, now: float) -> Pace:
    """The connection ended while this one was on its way."""
    if size_bytes <= SMALLEST_BYTES:
        return pace
    return replace(_at_most(pace, size_bytes // 2), doubted_bytes=size_bytes, doubted_until=now + DOUBT_S)


def _at_most(pace: Pace, size_bytes: int) -> Pace:
    return replace(pace, size_bytes=min(pace.size_bytes, max(SMALLEST_BYTES, size_bytes)))


@dataclass(frozen=True, slots=True)
class Burst:
    """`left` messages may still go before `begun_at` + `BURST_EVERY_S`."""

    begun_at: float = float("-inf")
    left: int = 0


def wait_s(burst: Burst, *, now: float) -> float:
    """Until the next message may go; 0 for now."""
    return 0.0 if burst.left else max(0.0, burst.begun_at + BURST_EVERY_S - now)


def sent(burst: Burst, *, now: float) -> Burst:
    if now >= burst.begun_at + BURST_EVERY_S:
        return Burst(now, BURST - 1)
    return replace(burst, left=max(0, burst.left - 1))
