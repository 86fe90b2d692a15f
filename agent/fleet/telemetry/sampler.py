"""Looks at the sources when it is time, records what is new, and raises and clears alarms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from agent.errors import TooLargeError
from agent.fleet.telemetry.alarms import Alarm, Rule, Turn, step
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.deadband import Filter, flat
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.rules import Measured
from agent.fleet.telemetry.sample import Kind
from agent.fleet.telemetry.schedule import Schedule
from agent.fleet.telemetry.source import Look, Reading, Source

ALARM: Final = "alarm"
"""The type under which the history of all alarms is kept."""
_WATCH: Final = ""
_NEVER_S: Final = 3600.0
REFRESH_S: Final = 60.0
"""Whoever may write to the broker can ask for it, so it is not done more often."""

T = TypeVar("T")
_log = logging.getLogger("agent.fleet.telemetry")


class Sampler:
    """`watch_s` is how often alarms are looked at. The outbox must be open before `run` or `step`."""

    def __init__(
        self,
        sources: Sequence[Source],
        outbox: Outbox,
        *,
        measured: Mapping[str, Measured],
        rules: Sequence[Rule],
        raised: RaisedAlarms,
        watch_s: float,
        clock: Clock,
    ) -> None:
        self._sources = {source.type: source for source in sources if source.type in measured}
        self._outbox = outbox
        self._filters = {type: Filter(measured[type].bands, measured[type].heartbeat_s) for type in self._sources}
        self._rules = tuple(rules)
        self._raised = raised
        self._clock = clock
        self._alarms: dict[str, Alarm] | None = None
        self._broken: set[str] = set()
        intervals_s = {type: measured[type].interval_s for type in self._sources}
        self._schedule = Schedule({_WATCH: watch_s, **intervals_s}, clock.up())
        self._refresh_from = clock.up()
        """Before then nobody gets everything anew."""
        self._refresh_at: float | None = None
        self._wake = asyncio.Event()

    def refresh(self) -> None:
        """Somebody has forgotten what was sent: everything is measured and recorded anew, at most once a minute."""
        self._refresh_at = max(self._clock.up(), self._refresh_from)
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._wake.clear()
            wait_s = await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def step(self) -> float:
        """Does what is due; in how many seconds something will be."""
        now = self._clock.up()
        if self._refresh_at is not None and now >= self._refresh_at:
            self._refresh_at, self._refresh_from = None, now + REFRESH_S
            self._schedule.hasten(now)
            for filter in self._filters.values():
                filter.forget()
        due = self._schedule.due(now)
        if _WATCH in due:
            await self.watch()
        for type in due:
            if type != _WATCH:
                await self._measure(self._sources[type])
        now = self._clock.up()
        wait_s = self._schedule.wait_s(now)
        waits = [_NEVER_S if wait_s is None else wait_s]
        if self._refresh_at is not None:
            waits.append(max(0.0, self._refresh_at - now))
        return min(waits)

    async def watch(self) -> None:
        """A quick look at all sources, for alarms and events."""
        readings: dict[str, Reading] = {}
        for source in self._sources.values():
            look = await self._guarded(source.type, source.look) or Look()
            readings |= look.readings
            for event in look.events:
                await self._outbox.keep(Kind.EVENT, event.type, event.values)
        await self._decide(readings)

    async def _measure(self, source: Source) -> None:
        values = await self._guarded(source.type, source.read)
        if values and flat(values) and self._filters[source.type].passes(values, self._clock.up()):
            try:
                self._outbox.record(Kind.MEASUREMENT, source.type, values)
            except TooLargeError as error:
                _log.warning("%s: %s", source.type, error)

    async def _decide(self, readings: Mapping[str, Reading]) -> None:
        if self._alarms is None:
            self._alarms = {rule.name: Alarm(raised=rule.name in self._outbox.raised) for rule in self._rules}
            self._raised.become(self._still_raised())
        for rule in self._rules:
            reading = readings.get(rule.reading, Reading(None))
            alarm, turn = step(rule, self._alarms[rule.name], reading.value, self._clock.up())
            self._alarms[rule.name] = alarm
            if turn is not None:
                await self._turned(rule, turn, reading)

    async def _turned(self, rule: Rule, turn: Turn, reading: Reading) -> None:
        stamp = self._clock.now()
        text = rule.text.format(value=reading.value, limit=rule.raise_at, detail=reading.detail)
        said = {"text": text if turn is Turn.RAISED else f"Over: {rule.name}.", "severity": rule.severity}
        raised = self._still_raised()
        if turn is Turn.RAISED:
            times = {"time": round(stamp.time_s, 3), "up": round(stamp.up_s, 3), "boot": self._clock.boot}
            raised[rule.name] = msgspec.json.encode({**said, **times, "value": reading.value})
        else:
            raised.pop(rule.name, None)
        _log.warning("alarm %s %s: %s", rule.name, turn, said["text"])
        values = {"alarm": rule.name, "status": str(turn), **said, "value": reading.value}
        await self._outbox.keep(Kind.ALARM, ALARM, values, raised=raised)
        self._raised.become(raised)

    def _still_raised(self) -> dict[str, bytes]:
        """Without what an earlier version called an alarm."""
        names = {rule.name for rule in self._rules}
        return {name: body for name, body in self._outbox.raised.items() if name in names}

    async def _guarded(self, type: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """A source that fails costs its own values only."""
        try:
            found = await work()
        except Exception as error:
            if type not in self._broken:
                _log.warning("%s could not be read: %s: %s", type, error.__class__.__name__, error)
            self._broken.add(type)
            return None
        self._broken.discard(type)
        return found
