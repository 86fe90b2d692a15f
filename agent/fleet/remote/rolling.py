"""A rollout at work: what devices say goes into the picture, what is decided is written to their desired states."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent.errors import EdgeAgentError, NotConnectedError, RequestError
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Disconnected, Event, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.errand import Notice
from agent.fleet.remote.line import connecting, for_remote, messages
from agent.fleet.remote.look import QUIET_S
from agent.fleet.remote.picture import BELOW, Picture
from agent.fleet.remote.rollout import Decision, Member, Plan, judge
from agent.fleet.remote.wanted import Document
from agent.fleet.topics import FleetTopics, Topics

TICK_S: Final = 1.0
GATHERING_S: Final = 0.1
"""Between two decisions: a fleet that answers at once is looked at once."""
REFRESH_S: Final = 60.0
"""After so long without news everything is read anew: a message to us may have been lost."""
ECHO_S: Final = 10.0
"""What was written comes back to us by then, or is looked for."""
PICTURE_S: Final = 60.0
RESEND_S: Final = 0.5
SENDERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How things stand. The last one has a phase that is final."""

    decision: Decision
    members: tuple[Member, ...]
    unwritten: tuple[str, ...] = ()
    """Devices whose desired state could not be written."""
    taken_over: str = ""


class Rolling:
    """`async for what in Rolling(...).events()`. Leaving it early changes nothing that was written.

    With `dry` nothing is written, and there is one look. `clock` never goes back, `wall` gives Unix time.
    """

    def __init__(
        self,
        settings: LinkSettings,
        fleet: FleetTopics,
        plan: Plan,
        *,
        patterns: Sequence[str] = (),
        run: str,
        dry: bool = False,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._plan = plan
        self._dry = dry
        self._quiet_s = quiet_s
        self._clock = clock
        self._wall = wall
        self._picture = Picture(fleet, plan, patterns=patterns, run=run)
        self._news: asyncio.Queue[tuple[str, Event | Exception]] = asyncio.Queue()
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._connected: set[str] = set()
        self._link: Link
        self._writing: dict[str, asyncio.Task[str]] = {}
        self._senders = asyncio.Semaphore(SENDERS)
        self._unwritten: set[str] = set()
        self._news_at = self._written_at = clock()
        self._received = 0

    async def events(self) -> AsyncIterator[Look | Notice]:
        """Raises `NotConnectedError`, `ForbiddenError`, `NotFoundError` where there is no device."""
        async with connecting(for_remote(self._settings), ()) as self._link:
            self._pumps["send"] = asyncio.create_task(self._drain(self._link))
            try:
                for below in BELOW:
                    self._pumps[below] = asyncio.create_task(self._pump(below, first=True))
                await self._first_picture()
                async for event in self._roll():
                    yield event
            finally:
                tasks = [*self._pumps.values(), *self._writing.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _roll(self) -> AsyncIterator[Look | Notice]:
        while True:
            members = tuple(self._picture.members(self._clock()))
            decision = judge(self._plan, members)
            stopped = bool(self._picture.taken_over)
            if not self._dry and not stopped:
                for text in self._write(decision):
                    yield Notice(text)
            final = self._dry or stopped or (decision.phase.final and not self._at_work(decision))
            if final or not decision.phase.final:
                unwritten = tuple(sorted(self._unwritten))
                yield Look(decision=decision, members=members, unwritten=unwritten, taken_over=self._picture.taken_over)
            if final:
                return
            for text in await self._listen():
                yield Notice(text)
            await self._refresh()

    def _at_work(self, decision: Decision) -> bool:
        """Whether something is still to arrive at the broker."""
        names = [*decision.set_back, *decision.ask]
        waiting = any(name not in self._unwritten for name in names)
        return waiting or bool(self._writing) or any(self._picture.pending(name) for name in self._names(decision))

    def _names(self, decision: Decision) -> Iterable[str]:
        return (one.name for one in decision.inside)

    def _write(self, decision: Decision) -> list[str]:
        """Begins to write what is to be written; what is on its way is left alone."""
        notices = []
        stage = str(self._plan.stages[decision.stage])
        repairs = dict(self._picture.repairs())
        for name in dict.fromkeys([*repairs, *decision.ask, *decision.set_back]):
            if name in self._writing or name in self._unwritten or self._picture.pending(name):
                continue
            try:
                if name in repairs:
                    document, payload = repairs[name], repairs[name].encoded()
                elif name in decision.ask:
                    document, payload = self._picture.asking(name, stage, self._wall())
                else:
                    document, payload = self._picture.setting_back(name, self._wall())
            except RequestError as error:
                notices.append(self._not_written(name, error.message))
                continue
            self._begin(name, document, payload)
        return notices

    def _begin(self, name: str, document: Document, payload: bytes) -> None:
        self._picture.sent(name, document, payload)
        self._writing[name] = asyncio.create_task(self._publish(name, payload))

    async def _publish(self, name: str, payload: bytes) -> str:
        """Why it could not be written; nothing where the broker has it."""
        publication = Publication(topic=Topics(self._fleet.root, name).desired, payload=payload, retain=True)
        async with self._senders:
            while True:
                try:
                    await self._link.publish(publication)
                except NotConnectedError:  # written again it is no other word
                    await asyncio.sleep(RESEND_S)
                except EdgeAgentError as error:
                    return error.message
                else:
                    return ""

    def _not_written(self, name: str, why: str) -> str:
        self._unwritten.add(name)
        self._picture.unsent(name, why)
        return f"{name}: its desired state could not be written: {why}"

    async def _listen(self) -> list[str]:
        """Everything that has come, or nothing after a tick. Raises what a line cannot recover from."""
        notices = self._finished()
        try:
            async with asyncio.timeout(TICK_S):
                self._take(*await self._news.get(), notices)
                await asyncio.sleep(GATHERING_S)
        except TimeoutError:
            pass
        while not self._news.empty():
            self._take(*self._news.get_nowait(), notices)
        return notices + self._finished()

    def _finished(self) -> list[str]:
        notices = []
        for name in [name for name, task in self._writing.items() if task.done()]:
            why = self._writing.pop(name).result()
            self._written_at = self._clock()
            if why:
                notices.append(self._not_written(name, why))
        return notices

    def _take(self, below: str, event: Event | Exception, notices: list[str]) -> None:
        if isinstance(event, Exception):
            raise event
        if isinstance(event, Received):
            self._received += 1
            self._news_at = self._clock()
            said = self._picture.feed(event.topic, event.payload, oversized_bytes=event.oversized_bytes)
            if said:
                notices.append(said)
        elif isinstance(event, Connected):
            self._connected.add(below)
        elif below in self._connected:
            self._connected.discard(below)
            if below == BELOW[0]:  # the others say the same
                notices.append(f"MQTT: {event.reason}; the next attempt is in {event.retry_s:.1f} s")

    async def _first_picture(self) -> None:
        """The broker does not say when it has sent everything: when nothing came for a while, that was all."""
        end = self._clock() + PICTURE_S
        received, quiet_from = -1, self._clock()
        while self._clock() < end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._quiet_s / 4):
                    self._take(*await self._news.get(), [])
            while not self._news.empty():
                self._take(*self._news.get_nowait(), [])
            if received != self._received or not self._connected.issuperset(BELOW):
                received, quiet_from = self._received, self._clock()
            elif self._clock() - quiet_from >= self._quiet_s:
                break
        self._picture.settle()

    async def _refresh(self) -> None:
        """New subscriptions bring everything that is retained, in the broker's order."""
        now = self._clock()
        overdue = not self._writing and any(map(self._picture.pending, self._picture.names))
        echoes = overdue and now - self._written_at >= ECHO_S
        if not echoes and now - self._news_at < REFRESH_S:
            return
        self._news_at = self._written_at = now
        for below in BELOW if not echoes else BELOW[:1]:
            self._pumps[below].cancel()
            await asyncio.wait([self._pumps[below]])
            self._connected.discard(below)
            self._pumps[below] = asyncio.create_task(self._pump(below, first=False))

    async def _pump(self, below: str, *, first: bool) -> None:
        """With a line, and so with a queue at the broker, of its own; with QoS 0, which brokers do not queue."""
        settings = replace(for_remote(self._settings), subscription_qos=0)
        while True:
            try:
                async with connecting(settings, [self._fleet.filter(below)]) as link:
                    async for event in messages(link):
                        await self._news.put((below, event))
                raise NotConnectedError("The link to the broker ended by itself.")
            except EdgeAgentError as error:
                if first or not isinstance(error, NotConnectedError):
                    await self._news.put((below, error))
                    return
                await asyncio.sleep(TICK_S)

    async def _drain(self, link: Link) -> None:
        try:
            async for event in messages(link):
                if isinstance(event, Disconnected):
                    continue
        except EdgeAgentError as error:
            await self._news.put(("send", error))
