"""When an update may go on: time windows, the day's bytes, metered links, battery, somebody speaking. Pure.

Every number comes from `agent.settings.updates`, which says what each means; `wiring` makes a `Policy` of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from enum import Enum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from agent.errors import ConfigError
from agent.updates.parts import Allowance, Limits

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY: Final = 24 * 60
JITTER: Final = 0.2
"""A fleet that failed at once does not come back at once: a pause is 0.8 to 1.2 times as long as it should be."""
_WINDOW = re.compile(r"(?:(?P<days>[a-z, -]+?)\s+)?(?P<opens>\d{1,2}:\d{2})\s*-\s*(?P<closes>\d{1,2}:\d{2})")


Metered = Literal["auto", "yes", "no"]


class Step(Enum):
    """What is about to be done."""

    RESOLVE = "resolve"
    FETCH = "fetch"
    TRY = "try"
    SWITCH = "switch"


@dataclass(frozen=True, kw_only=True)
class Window:
    """Minutes of a day, from `opens` on, before `closes`; over midnight where that is not later. Days are those on
    which it opens, Monday 0."""

    days: frozenset[int]
    opens: int
    closes: int

    def holds(self, now: datetime) -> bool:
        minute = now.hour * 60 + now.minute
        if self.opens < self.closes:
            return now.weekday() in self.days and self.opens <= minute < self.closes
        if minute >= self.opens:
            return now.weekday() in self.days
        return minute < self.closes and (now.weekday() - 1) % 7 in self.days

    def next_opening(self, now: datetime) -> datetime:
        """After `now`, in which no window is open."""
        midnight = datetime.combine(now.date(), time(), now.tzinfo)
        for ahead in range(8):
            opening = midnight + timedelta(days=ahead, minutes=self.opens)
            if opening > now and opening.weekday() in self.days:
                return opening
        raise AssertionError("a window opens on some day of the week")


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What whoever asks for an update may say of it. `urgent`: windows, a metered link and the day's budget do not
    hold it up. `again`: also a version that was rejected. The others replace the setting of the same name."""

    urgent: bool = False
    again: bool = False
    attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    speed_ratio: Annotated[float, Meta(ge=0, le=10)] | None = None
    memory_ratio: Annotated[float, Meta(ge=0.1, le=100)] | None = None
    probation_s: Annotated[float, Meta(ge=0, le=604_800)] | None = None
    probation_requests: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """None is no limit. `bytes_per_day` counts what comes over the network. `metered` "auto": as the system says."""

    windows: tuple[Window, ...]
    bytes_per_day: int | None
    bytes_per_s: float | None
    metered: Metered
    metered_bytes: int
    battery_percent: float
    while_speaking: bool
    attempts: int
    retry_first_s: float
    retry_cap_s: float
    interruptions: int
    keep_versions: int
    limits: Limits

    def under(self, terms: Terms) -> Policy:
        """With what one update's terms say."""
        said = {
            name: value
            for name in ("speed_ratio", "memory_ratio", "probation_s", "probation_requests")
            if (value := getattr(terms, name)) is not None
        }
        changed = replace(self, attempts=terms.attempts or self.attempts, limits=replace(self.limits, **said))
        return replace(changed, windows=(), metered="no", bytes_per_day=None) if terms.urgent else changed


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """How things are. `now` is local time; `clock_set`: it can be believed. `on_mains`, `battery_percent` and `metered`
    are None where the machine does not say."""

    now: datetime
    clock_set: bool = True
    spent_bytes: int = 0
    on_mains: bool | None = None
    battery_percent: float | None = None
    speaking: bool = False
    metered: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Wait:
    """`reason` completes "waiting: "; `until` is when it may be over, if that is known."""

    reason: str
    until: datetime | None = None


def decide(step: Step, policy: Policy, around: Circumstances, *, missing_bytes: int = 0) -> Wait | None:
    """Why `step` has to wait now, or None: it may be done. Asking the repository is always allowed."""
    if step is Step.RESOLVE:
        return None
    return (
        _window(policy, around)
        or (_link(policy, around, missing_bytes) if step is Step.FETCH else None)
        or _battery(policy, around)
        or (_speech(policy, around) if step in (Step.TRY, Step.SWITCH) else None)
    )


def allowance(policy: Policy, around: Circumstances) -> Allowance:
    """What a fetch may take now."""
    left = None if policy.bytes_per_day is None else max(0, policy.bytes_per_day - around.spent_bytes)
    return Allowance(bytes_per_s=policy.bytes_per_s, bytes_left=left)


def retry_s(policy: Policy, attempts: int, dice: float) -> float:
    """The pause after the `attempts`-th attempt that failed; `dice` is uniform in [0, 1)."""
    doublings = min(attempts - 1, 64)
    pause_s = min(policy.retry_first_s * 2.0**doublings, policy.retry_cap_s)
    return pause_s * (1 - JITTER + 2 * JITTER * dice)


def read_window(text: str) -> Window:
    """A setting's text. Raises `ConfigError`."""
    match = _WINDOW.fullmatch(text.strip().lower())
    if match is None:
        raise _wrong(text)
    opens, closes = _minute(match["opens"], text), _minute(match["closes"], text)
    if opens in (closes, MINUTES_A_DAY):
        raise _wrong(text)
    return Window(days=_days(match["days"], text), opens=opens, closes=closes)


def _window(policy: Policy, around: Circumstances) -> Wait | None:
    if not policy.windows:
        return None
    if not around.clock_set:
        return Wait(reason="the clock is not set, and updates have their hours")
    if any(window.holds(around.now) for window in policy.windows):
        return None
    opening = min(window.next_opening(around.now) for window in policy.windows)
    return Wait(reason=f"window opens {_when(opening, around.now)}", until=opening)


def _link(policy: Policy, around: Circumstances, missing_bytes: int) -> Wait | None:
    found = policy.metered == "auto" and around.metered
    if (found or policy.metered == "yes") and missing_bytes > policy.metered_bytes:
        who = " (NetworkManager says so)" if found else ""
        return Wait(
            reason=f"the link is metered{who}: {_size(missing_bytes)} are missing, {_size(policy.metered_bytes)}"
            " would be allowed"
        )
    if policy.bytes_per_day is not None and around.spent_bytes >= policy.bytes_per_day:
        tomorrow = datetime.combine(around.now.date() + timedelta(days=1), time(), around.now.tzinfo)
        return Wait(reason=f"the day's {_size(policy.bytes_per_day)} are used up", until=tomorrow)
    return None


def _battery(policy: Policy, around: Circumstances) -> Wait | None:
    percent = around.battery_percent
    if percent is None or around.on_mains or percent >= policy.battery_percent:
        return None
    return Wait(reason=f"the battery is at {percent:.0f}%, {policy.battery_percent:.0f}% are needed")


def _speech(policy: Policy, around: Circumstances) -> Wait | None:
    return Wait(reason="somebody is speaking") if around.speaking and not policy.while_speaking else None


def _when(moment: datetime, now: datetime) -> str:
    near = moment - now < timedelta(days=1)
    return moment.strftime("%H:%M" if near else "%a %H:%M")


def _days(text: str | None, whole: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in re.split(r"[,\s]+", re.sub(r"\s*-\s*", "-", text.strip())):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise _wrong(whole)
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    return frozenset(found)


def _minute(text: str, whole: str) -> int:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or hour * 60 + minute > MINUTES_A_DAY:
        raise _wrong(whole)
    return hour * 60 + minute


def _wrong(text: str) -> ConfigError:
    return ConfigError(
        f"updates.windows = {text[:80]!r}: expected hours like 02:00-05:00, with days before them like"
        " mon-fri or sat sun.",
        param="updates.windows",
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB".replace(".0 MB", " MB") if count >= 1e6 else f"{count / 1e3:,.0f} KB"


def check_windows(texts: Sequence[str]) -> tuple[Window, ...]:
    """Raises `ConfigError`."""
    return tuple(read_window(text) for text in texts)
