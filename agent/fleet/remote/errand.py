"""A command on its way: sent to each device, answers collected, and its topics cleared behind it.

Every message may be lost on the way here. A broker's queue for one client is finite, and a thousand devices answer at
once; so what is missing is looked up among the retained messages, where each answer lies until it is cleared. Clearing
is what makes room: the next look brings those that the one before had no room for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from agent.errors import EdgeAgentError, NotConnectedError, PublishRefusedError
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Disconnected, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.answers import Answer, Answers
from agent.fleet.remote.line import connecting, for_remote, messages
from agent.fleet.remote.look import QUIET_S, look
from agent.fleet.remote.order import Order
from agent.fleet.remote.payload import GarbledError, read_object
from agent.fleet.topics import FleetTopics, Topics

SENDERS: Final = 64
EXPLICIT: Final = 8
"""Up to so many devices are subscribed to by name, which is all that some brokers allow a user."""
FIRST_LOOK_S: Final = 3.0
LONGEST_LOOK_S: Final = 60.0
LAST_WORDS_S: Final = 1.0
"""How long after a command was cleared its topic is watched: an answer that was on its way fills it again."""
CLEANING_S: Final = 15.0
RECONNECTING_S: Final = 3.0
"""How long cleaning up waits for a line that is down."""
CLEARINGS: Final = 8
"""Of one topic: a device that fills it again and again keeps it."""
EVENTS: Final = 256
RESEND_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Piece:
    """Of what a device is making; `fields` has its number `n`."""

    device: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """About the line to the broker."""

    text: str


ErrandEvent = Answer | Piece | Notice


class Errand:
    """`async with Errand(...) as errand: async for event in errand.events()`. Leaving clears what must not stay."""

    def __init__(
        self,
        settings: LinkSettings,
        fleet: FleetTopics,
        order: Order,
        *,
        first_look_s: float = FIRST_LOOK_S,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._order = order
        self._first_look_s = first_look_s
        self._quiet_s = quiet_s
        self._clock = clock
        self._wall = wall
        self.answers = Answers(order.devices)
        self._events: asyncio.Queue[ErrandEvent | Exception | None] = asyncio.Queue(EVENTS)
        self._stack = contextlib.AsyncExitStack()
        self._link: Link
        self._connected = asyncio.Event()
        self._changed = asyncio.Event()
        self._touched: set[str] = set()
        """Devices whose topic may hold the command."""
        self._clearings: Counter[str] = Counter()
        self._clearing: set[asyncio.Task[None]] = set()
        self._cancelled: set[str] = set()
        self._working: list[asyncio.Task[None]] = []
        self._over = False
        self.uncleared: tuple[str, ...] = ()
        """After leaving: devices whose topic could not be cleared."""

    async def __aenter__(self) -> Errand:
        settings = for_remote(self._settings)
        self._link = await self._stack.enter_async_context(connecting(settings, self._filters()))
        self._listening = asyncio.create_task(self._guard(self._listen()), name="answers")
        self._working = [
            asyncio.create_task(self._guard(self._send_all()), name="sending"),
            asyncio.create_task(self._guard(self._keep_time()), name="time"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        while not self._events.empty():  # whoever waits for room goes on
            self._events.get_nowait()
        for task in self._working:
            task.cancel()
        try:
            await asyncio.wait(self._working)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLEANING_S if self._connected.is_set() else RECONNECTING_S):
                    await self._clean_up()
        finally:
            self.uncleared = tuple(sorted(self._touched)) if not self._order.leave else ()
            self._listening.cancel()
            for task in self._clearing:
                task.cancel()
            await self._stack.aclose()
            await asyncio.wait([self._listening, *self._clearing])

    async def events(self) -> AsyncIterator[ErrandEvent]:
        """Every change of an answer, until all are final or the time is over; the missing ones come last.

        Raises `NotConnectedError`, `ForbiddenError`, `TooLargeError`: nothing can be sent.
        """
        while not (self.answers.complete and self._events.empty()):
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            if event is None:
                break
            yield event
        for answer in self.answers.give_up(f"no answer in {self._order.timeout_s:g} s"):
            yield answer

    def _filters(self) -> list[str]:
        belows = [self._order.below, f"{self._order.below}/result/+"]
        belows += [f"{self._order.below}/stream"] if self._order.stream else []
        if len(self._order.devices) > EXPLICIT:
            return [self._fleet.filter(below) for below in belows]
        return [f"{self._topics(device).service}/{below}" for device in self._order.devices for below in belows]

    def _topics(self, device: str) -> Topics:
        return Topics(self._fleet.root, device)

    async def _put(self, event: ErrandEvent | Exception | None) -> None:
        if not self._over:
            await self._events.put(event)

    async def _guard(self, work: Any) -> None:
        """An error of one task is the errand's."""
        try:
            await work
        except Exception as error:
            await self._put(error)

    async def _listen(self) -> None:
        async for event in messages(self._link):
            if isinstance(event, Connected):
                if self._touched:
                    await self._put(Notice(f"connected to {event.broker} again"))
                self._connected.set()
            elif isinstance(event, Disconnected):
                self._connected.clear()
                await self._put(Notice(f"{event.reason}; the next attempt is in {event.retry_s:.1f} s"))
            else:
                await self._take(event)
        raise NotConnectedError("The link to the broker ended by itself.")

    async def _take(self, received: Received) -> None:
        parsed = self._fleet.parse(received.topic)
        if parsed is None or parsed[0].device not in self.answers:
            return
        device, below = parsed[0].device, parsed[1]
        now = self._clock()
        answer: Answer | None = None
        if below == self._order.below:
            if received.payload or received.oversized_bytes:
                answer = self.answers.message(device, received.payload, now, oversized_bytes=received.oversized_bytes)
                self._clear_if_final(device)
        elif below == f"{self._order.below}/stream":
            with contextlib.suppress(GarbledError):
                await self._put(Piece(device, read_object(received.payload)))
        else:
            index = below.removeprefix(f"{self._order.below}/result/")
            if index.isascii() and index.isdecimal() and len(index) < 7:
                answer = self.answers.piece(device, int(index), received.payload, now)
                if answer is not None:
                    self._clear_if_final(device)
        if answer is not None:
            self._changed.set()
            await self._put(answer)

    async def _send_all(self) -> None:
        devices = iter(self._order.devices)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(SENDERS, len(self._order.devices))):
                group.create_task(self._send_some(devices))

    async def _send_some(self, devices: Iterable[str]) -> None:
        for device in devices:
            await self._send(device)

    async def _send(self, device: str) -> None:
        await self._connected.wait()
        publication = self._order.publication(self._topics(device), self._wall())
        while True:
            await self._connected.wait()
            self._touched.add(device)
            self.answers.sent(device, self._clock())
            try:
                await self._link.publish(publication)
                return
            except NotConnectedError:  # sent again it does no more: the id is the same
                await asyncio.sleep(RESEND_S)
            except PublishRefusedError as error:
                self._touched.discard(device)
                await self._put(self.answers.unsent(device, error.message))
                return
            except EdgeAgentError as error:  # it is too large, for this device and all others
                self._touched.discard(device)
                await self._put(error)
                return

    async def _keep_time(self) -> None:
        """The end of the errand, and looks for answers that did not come by themselves."""
        await self._connected.wait()
        end = self._clock() + self._order.timeout_s
        pause_s = self._first_look_s
        while (left_s := end - self._clock()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause_s, left_s)):
                    await self._changed.wait()
                    continue  # as long as answers come, none is missed
            if self._clock() < end and self._connected.is_set():
                brought = await self._look()
                pause_s = self._quiet_s if brought else min(LONGEST_LOOK_S, 2 * pause_s)
        await self._look()
        await self._put(None)

    async def _look(self) -> bool:
        """Whether it brought anything."""
        if len(self._order.devices) <= EXPLICIT:
            return False
        before = self.answers.answered
        with contextlib.suppress(EdgeAgentError):  # the line in use has its own troubles, and says them
            found = await look(self._settings, self._filters(), quiet_s=self._quiet_s)
            for received in found:
                await self._take(received)
        return self.answers.answered > before

    def _clear_if_final(self, device: str) -> None:
        """After each message there: what a device says twice stands there again."""
        if self.answers[device].status.final or device in self._cancelled:
            self._clear(device)

    def _clear(self, device: str) -> None:
        if self._clearings[device] < CLEARINGS:
            self._clearings[device] += 1
            task = asyncio.create_task(self._publish_clearing(device))
            self._clearing.add(task)
            task.add_done_callback(self._clearing.discard)

    async def _publish_clearing(self, device: str) -> None:
        publication = self._order.clearing(self._topics(device))
        while True:
            await self._connected.wait()
            try:
                await self._link.publish(publication)
            except NotConnectedError:
                await asyncio.sleep(RESEND_S)
                continue
            except EdgeAgentError:
                return
            self._touched.discard(device)
            return

    async def _clean_up(self) -> None:
        """Nothing of this command is left with the broker; a device that is at it takes that as its cancellation."""
        if not self._order.leave:
            self._cancelled = {device for device in self._touched if not self.answers[device].status.answered}
            for device in self._cancelled:
                self._clear(device)
            await self._cleared()
            if self._cancelled:
                await asyncio.sleep(LAST_WORDS_S)
        await self._cleared()

    async def _cleared(self) -> None:
        while self._clearing:
            await asyncio.wait(self._clearing)
