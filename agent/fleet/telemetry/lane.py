"""How far the sending of one type has come. Pure: each function gives the lane after something has happened.

One message of a type is on the way at a time, so that a message that fails never lets a later one overtake it. With
acknowledgements, up to `window` messages may have reached the broker and wait for the consumer's word; if it does not
come in time, or the link was lost, sending begins again behind the last acknowledged one. A consumer that looks at
`seq` sees some samples twice then, and never a later one before an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

RESEND_CAP_S: Final = 900.0
FAILED_FIRST_S: Final = 2.0
REFUSED_FIRST_S: Final = 60.0
FAILED_CAP_S: Final = 3600.0
SMALLEST_BYTES: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Samples up to `confirmed` are done with; up to `sent` the broker has them; up to `flying` they are on the way.

    `waiting` are the ends of messages that wait for the consumer. `told` is the end of the last message composed: what
    is missing behind it is a gap to be told. `highest` was ever on the way. `not_before` and `overdue_at` are of the
    caller's clock, in seconds.
    """

    confirmed: int
    sent: int
    told: int
    highest: int = 0
    flying: int = 0
    waiting: tuple[int, ...] = ()
    overdue_at: float | None = None
    not_before: float = 0.0
    failures: int = 0
    limit_bytes: int = 2**31


def begun(confirmed: int) -> Lane:
    return Lane(confirmed=confirmed, sent=confirmed, told=confirmed)


def may_send(lane: Lane, newest: int, *, now: float, window: int) -> bool:
    """Whether a message with what follows `sent` may go, if there is anything up to number `newest`."""
    return lane.flying == 0 and newest > lane.sent and now >= lane.not_before and len(lane.waiting) < window


def sending(lane: Lane, last: int) -> Lane:
    """A message that ends with number `last` is handed to the link."""
    return replace(lane, flying=last, told=last, highest=max(lane.highest, last))


def taken(lane: Lane, *, now: float, acknowledged: bool, patience_s: float) -> Lane:
    """The broker has confirmed it. With `acknowledged` the consumer's word is still to come."""
    last = max(lane.flying, lane.sent)
    lane = replace(lane, flying=0, sent=last, failures=lane.failures if acknowledged else 0, limit_bytes=2**31)
    if not acknowledged:
        return replace(lane, confirmed=last)
    if last <= lane.confirmed:  # the consumer was faster than the broker's confirmation
        return lane
    overdue_at = lane.overdue_at if lane.waiting else now + _patience_s(lane, patience_s)
    return replace(lane, waiting=(*lane.waiting, last), overdue_at=overdue_at)


def acknowledged(lane: Lane, seq: int, *, now: float, patience_s: float) -> Lane:
    """The consumer has everything up to `seq`; a number that was never on the way says no more than the last one that
    was."""
    seq = min(seq, lane.highest)
    if seq <= lane.confirmed:
        return lane
    waiting = tuple(last for last in lane.waiting if last > seq)
    overdue_at = now + patience_s if waiting else None
    return replace(
        lane,
        confirmed=seq,
        sent=max(lane.sent, seq),
        told=max(lane.told, seq),
        waiting=waiting,
        overdue_at=overdue_at,
        failures=0,
    )


def lost(lane: Lane) -> Lane:
    """The link went down, or came up: what was not confirmed is sent again."""
    return replace(
        lane, sent=lane.confirmed, told=lane.confirmed, flying=0, waiting=(), overdue_at=None, not_before=0.0
    )


def overdue(lane: Lane, *, now: float) -> Lane | None:
    """The lane that sends again because the consumer was silent for too long; None if it was not."""
    if lane.overdue_at is None or now < lane.overdue_at or lane.flying:
        return None
    return replace(lost(lane), failures=lane.failures + 1)


def refused(lane: Lane, *, now: float, temporary: bool) -> Lane:
    """The broker said no, or it failed otherwise: it is tried again later, and later each time."""
    first_s = FAILED_FIRST_S if temporary else REFUSED_FIRST_S
    pause_s = min(FAILED_CAP_S, first_s * 2.0 ** min(lane.failures, 20))
    return replace(lost(lane), failures=lane.failures + 1, not_before=now + pause_s)


def too_large(lane: Lane, message_bytes: int) -> Lane:
    """The next message is half as long; those after it as long as they may."""
    return replace(lost(lane), limit_bytes=max(SMALLEST_BYTES, message_bytes // 2))


def discarded(lane: Lane) -> Lane:
    """The one sample on its way is given up, and will be told as missing."""
    return replace(lost(replace(lane, confirmed=lane.flying)), told=lane.confirmed)


def next_s(lane: Lane, newest: int, *, now: float, window: int) -> float | None:
    """In how many seconds something may be due without anything happening; None for never."""
    times = [lane.overdue_at] if lane.overdue_at is not None and not lane.flying else []
    if not lane.flying and newest > lane.sent and len(lane.waiting) < window:
        times.append(lane.not_before)
    return max(0.0, min(times) - now) if times else None


def _patience_s(lane: Lane, patience_s: float) -> float:
    return min(RESEND_CAP_S, patience_s * 2.0 ** min(lane.failures, 20))
