"""The link to the broker, as the rest of the daemon uses it: it connects, stays connected, and carries messages."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agent.errors import EdgeAgentError, NotConnectedError
from agent.fleet.link.backoff import Backoff
from agent.fleet.link.connector import Connector
from agent.fleet.link.failure import FUTILE, LinkFailure
from agent.fleet.link.inbox import Inbox
from agent.fleet.link.messages import Connected, Disconnected, Event, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.link.state import LinkState, Tally

if TYPE_CHECKING:
    from agent.fleet.link.connection import Connection
    from agent.fleet.link.reports import Opened

FAREWELL_S: Final = 2.0

T = TypeVar("T")
_log = logging.getLogger("agent.fleet.link")


class Link:
    """`will` is what the broker publishes when this client is gone, if anything; `close` publishes it too.

    `run` belongs into a task; `events` has one reader. `clock` is monotonic, `dice` uniform in [0, 1).
    """

    def __init__(
        self,
        settings: LinkSettings,
        *,
        will: Publication | None,
        subscriptions: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._will = will
        self._clock = clock
        self._dice = dice
        self._inbox = Inbox()
        self._connector = Connector(settings, will=will, subscriptions=tuple(subscriptions), inbox=self._inbox)
        self._backoff = Backoff(pauses=settings.pauses)
        self._connection: Connection | None = None
        self._connected: Connected | None = None
        self._closing = asyncio.Event()
        self._stopped = asyncio.Event()
        self._running = False
        self._farewell: Publication | None = None
        self._tally = Tally()
        self._connections = 0
        self._last_error: str | None = None
        self._retry_at: float | None = None

    async def run(self) -> None:
        """Until `close`. Cancelled, it drops the connection without a word, and the broker publishes the will."""
        self._running = True
        try:
            # Imports the MQTT library, which a daemon without a link does not need.
            await asyncio.to_thread(importlib.import_module, "agent.fleet.link.connection")
            while not self._closing.is_set():
                failure = await self._once()
                if failure is not None:
                    await self._pause(failure)
            await self._say_goodbye()
        finally:
            await self._drop()
            self._inbox.close()
            self._stopped.set()

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order; ends after `close`. Each `Received` with QoS 1 wants an `acknowledge`."""
        while (event := await self._inbox.take()) is not None:
            yield event

    async def publish(self, publication: Publication) -> None:
        """Returns when the broker has it: with QoS 1 confirmed, with QoS 0 handed to the system. Waits while
        `in_flight` others are not confirmed.

        Raises `NotConnectedError` (also if the connection is lost before the confirmation: it may have arrived),
        `TooLargeError`, `PublishRefusedError`. Cancelled, the message may have been sent or not.
        """
        connection = self._connection
        if connection is None or connection.ended.done():
            because = f": {self._last_error}" if self._last_error else ""
            raise NotConnectedError(f"No MQTT broker is connected{because}.", hint="Send it again when the link is up.")
        await connection.publish(publication)

    def acknowledge(self, received: Received) -> None:
        """What the message asks for is on the disk: the broker may forget it."""
        if self._connection is not None:
            self._connection.acknowledge(received)

    def room_bytes(self, publication: Publication) -> int:
        """How long a payload this message could carry on the present connection; 0 while there is none."""
        limit_bytes = self._connection.packet_limit_bytes if self._connection else 0
        return max(0, limit_bytes - publication.overhead_bytes)

    @property
    def state(self) -> LinkState:
        connection, tally, now = self._connection, self._tally, self._clock()
        up = connection is not None and not connection.ended.done()
        counts = connection.counts if connection else None
        sent_bytes, received_bytes = counts.traffic_bytes if counts else (0, 0)
        since = self._backoff.connected_at
        return LinkState(
            connected=up,
            broker=self._connected.broker if up and self._connected else None,
            protocol=self._connected.protocol if up and self._connected else None,
            connected_s=now - since if up and since is not None else None,
            reconnects=max(0, self._connections - 1),
            attempts_failed=self._connector.attempts_failed,
            retry_s=max(0.0, self._retry_at - now) if self._retry_at is not None else None,
            last_error=self._last_error,
            refused_subscriptions=self._connected.refused if up and self._connected else (),
            packet_limit_bytes=connection.packet_limit_bytes if up and connection else None,
            in_flight=connection.in_flight if connection else 0,
            sent_messages=tally.sent_messages + (counts.sent_messages if counts else 0),
            received_messages=tally.received_messages + (counts.received_messages if counts else 0),
            ignored_messages=tally.ignored_messages + (counts.ignored_messages if counts else 0),
            sent_bytes=tally.sent_bytes + sent_bytes,
            received_bytes=tally.received_bytes + received_bytes,
        )

    async def close(self, farewell: Publication | None = None) -> None:
        """Publishes `farewell` (or the will), says DISCONNECT, and waits until the thread has ended."""
        self._farewell = farewell or self._will
        self._closing.set()
        if self._running:
            await self._stopped.wait()
        else:
            self._inbox.close()

    async def _once(self) -> LinkFailure | None:
        """Connects and stays connected; why that is over, or None on `close`."""
        try:
            established = await self._unless_closing(self._connector.connect())
        except LinkFailure as failure:
            return failure
        if established is None:
            return None
        self._take_over(*established)
        return await self._stay(established[0])

    def _take_over(self, connection: Connection, opened: Opened) -> None:
        self._connection = connection
        self._connections += 1
        self._retry_at = None
        self._backoff = self._backoff.connected(self._clock())
        self._connected = Connected(
            broker=str(connection.address),
            protocol=connection.version,
            session_present=opened.session_present,
            refused=opened.refused,
        )
        _log.info("connected to %s, MQTT %s", connection.address, connection.version)
        for filter in opened.refused:
            _log.warning("the broker does not let this device subscribe to %s", filter)
        self._inbox.put(self._connected)
        connection.begin()

    async def _stay(self, connection: Connection) -> LinkFailure | None:
        """Until the connection is lost, or None on `close`. Looks after the files meanwhile."""
        seen = tried = connection.credentials.fingerprint
        while True:
            await self._wait(self._settings.watch_s if self._settings.files else None, connection.ended)
            if self._closing.is_set():
                return None
            if connection.ended.done():
                return connection.ended.result()
            now = await self._connector.look()
            if now != tried and now == seen:  # two looks agree: certificate and key are written one after the other
                tried = now
                connection = await self._exchange(connection)
            seen = now

    async def _exchange(self, connection: Connection) -> Connection:
        """The new files are tried on a connection of their own; the broker ends the old one when it takes that."""
        try:
            established = await self._unless_closing(self._connector.renew(connection))
        except LinkFailure as failure:
            self._last_error = f"the new certificate or password was not taken: {failure.reason}"
            _log.warning("%s; the old one stays in use", self._last_error)
            return connection
        if established is None:
            return connection
        self._take_over(*established)
        await self._retire(connection)
        _log.info("certificates or password were exchanged")
        return established[0]

    async def _pause(self, failure: LinkFailure) -> None:
        await self._drop()
        now = self._clock()
        self._backoff = self._backoff.failed(now)
        retry_s = self._backoff.pause_s(self._dice(), futile=failure.kind in FUTILE)
        level = logging.DEBUG if failure.reason == self._last_error else logging.WARNING
        _log.log(level, "no broker: %s; next attempt in %.1f s", failure.reason, retry_s)
        self._last_error = failure.reason
        self._retry_at = now + retry_s
        self._inbox.put(Disconnected(reason=failure.reason, retry_s=retry_s))
        watch_s = self._settings.watch_s if self._settings.files else retry_s
        while not self._closing.is_set() and (left_s := self._retry_at - self._clock()) > 0:
            await self._wait(min(left_s, watch_s))
            if await self._connector.changed():
                return  # somebody has repaired what was wrong, perhaps

    async def _wait(self, timeout_s: float | None, *others: asyncio.Future[Any]) -> None:
        """Until `close`, one of `others`, or the time is over."""
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait([closing, *others], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()

    async def _unless_closing(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Its result, or None if `close` came before it."""
        task = asyncio.ensure_future(work)
        try:
            await self._wait(None, task)
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, LinkFailure):
                    await task
        return None if task.cancelled() else task.result()

    async def _say_goodbye(self) -> None:
        connection = self._connection
        if connection is None or connection.ended.done():
            return
        if self._farewell is not None:
            with contextlib.suppress(EdgeAgentError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await connection.publish(self._farewell)
        await connection.leave()

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._retire(connection)

    async def _retire(self, connection: Connection) -> None:
        """Ends it, and keeps its counts."""
        await connection.abandon()
        counts, tally = connection.counts, self._tally
        tally.sent_messages += counts.sent_messages
        tally.received_messages += counts.received_messages
        tally.ignored_messages += counts.ignored_messages
        sent_bytes, received_bytes = counts.traffic_bytes
        tally.sent_bytes += sent_bytes
        tally.received_bytes += received_bytes
