"""Drains the outbox to the link, many samples in a message.

Each type has a lane of its own, with one message on the way at a time: an alarm never waits behind a backlog of
measurements. While the device is busy, only one message of all goes at a time, of alarms first, then of events, in
bursts with pauses between them; alarms do not wait for those.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from agent.errors import EdgeAgentError, NotConnectedError, PublishRefusedError, TooLargeError
from agent.fleet.link.messages import Publication
from agent.fleet.telemetry import lane as lanes
from agent.fleet.telemetry import message, pace
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.lane import Lane
from agent.fleet.telemetry.line import Line
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.publisher import Publisher
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.run import Run
from agent.fleet.telemetry.sample import Kind
from agent.fleet.topics import Topics

EMPTY_S: Final = 1.0
THREAD_BYTES: Final = 16 * 1024

_log = logging.getLogger("agent.fleet.telemetry")


@dataclass(frozen=True, kw_only=True)
class SenderOptions:
    """`message_bytes` is the longest payload before it is deflated; it must fit the 128 KB of some brokers that do
    not say so. `window` is how many messages of a type may wait
    for the consumer's acknowledgement, for `acknowledge_s` before they are sent again. A sample waits `batch_s` for
    others to travel with."""

    acknowledge: bool = False
    acknowledge_s: float = 30.0
    window: int = 8
    deflate: bool = False
    format: message.Format = "batch"
    message_bytes: int = 120 * 1024
    batch_s: float = 0.0


class Acknowledgement(msgspec.Struct, frozen=True):
    """What a consumer writes to `P/ack`. With `log` it means the numbers of that log only."""

    type: str
    seq: int
    log: str | None = None


class Sender:
    """`busy` says whether the device has something better to do."""

    def __init__(
        self,
        publisher: Publisher,
        outbox: Outbox,
        topics: Topics,
        options: SenderOptions,
        *,
        clock: Clock,
        raised: RaisedAlarms,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._publisher = publisher
        self._outbox = outbox
        self._topics = topics
        self._options = options
        self._clock = clock
        self._raised = raised
        self._busy = busy
        self._connected = False
        self._connection = 0
        self._lanes: dict[str, Lane] = {}
        self._log = ""
        self._pace = pace.begun(options.message_bytes)
        self._burst = pace.Burst()
        self._under_way: set[str] = set()
        """Types of which a message is being read or sent."""
        self._telling = False
        self._tell_at = 0.0
        self._complained: set[str] = set()
        self.sent_samples = 0
        self.sent_messages = 0

    def connected(self) -> None:
        """A line to a broker stands: everything that is not confirmed is sent again."""
        self._connected = True
        self._connection += 1
        self._lanes = {name: lanes.lost(lane) for name, lane in self._lanes.items()}
        self._raised.announce()
        self._outbox.arrived.set()

    def disconnected(self) -> None:
        self._connected = False

    def acknowledged(self, payload: bytes) -> None:
        """A message on `P/ack`. Whatever it is, nothing is lost by it that was not sent."""
        try:
            found = msgspec.json.decode(payload, type=Acknowledgement)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _log.debug("not an acknowledgement: %.100r", payload)
            return
        if not self._options.acknowledge or (found.log or self._outbox.log) != self._outbox.log:
            return
        lane = self._lane(found.type)
        if lane is not None:
            lane = lanes.acknowledged(lane, found.seq, now=self._clock.up(), patience_s=self._options.acknowledge_s)
            self._set(found.type, lane)
            self._outbox.arrived.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._outbox.arrived.clear()
                wait_s = self._step(group) if self._connected else None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._outbox.arrived.wait()

    def _step(self, group: asyncio.TaskGroup) -> float | None:
        """Begins what may be sent now; in how many seconds to look again."""
        now, window = self._clock.up(), self._options.window
        waits: list[float] = []
        if self._raised.unsaid and not self._telling:
            if now >= self._tell_at:
                self._telling = True
                group.create_task(self._tell())
            else:
                waits.append(self._tell_at - now)
        for line in self._outbox.lines():
            lane = self._lane(line.name)
            if lane is None or line.name in self._under_way:
                continue
            if (again := lanes.overdue(lane, now=now)) is not None:
                _log.debug("nobody acknowledged %s; sending it again", line.name)
                lane = self._lanes[line.name] = again
            due_s = self._due_s(line, lane, now)
            if due_s > 0:
                waits.append(due_s)
            elif lanes.may_send(lane, line.newest, now=now, window=window):
                if line.kind is not Kind.ALARM and self._busy():
                    if self._under_way:
                        break  # when that has arrived, this is looked at again
                    if (pause_s := pace.wait_s(self._burst, now=now)) > 0:
                        waits.append(pause_s)
                        break
                    self._burst = pace.sent(self._burst, now=now)
                self._under_way.add(line.name)
                group.create_task(self._send(line.name, lane))
            elif (wait_s := lanes.next_s(lane, line.newest, now=now, window=window)) is not None:
                waits.append(wait_s)
        return min(waits, default=None)

    def _due_s(self, line: Line, lane: Lane, now: float) -> float:
        """How long its next sample still waits for others; a backlog does not."""
        if not self._options.batch_s or line.kind.durable or line.last_stored > lane.sent:
            return 0.0
        first = next((sample for sample in line.pending if sample.seq > lane.sent), None)
        return max(0.0, first.stamp.up_s + self._options.batch_s - now) if first else 0.0

    async def _send(self, name: str, lane: Lane) -> None:
        """One message of a type, and what becomes of it."""
        connection, log = self._connection, self._outbox.log

        def is_past() -> bool:
            """All lanes were reset since: what happens to this message says nothing about them."""
            return connection != self._connection or log != self._outbox.log

        run: Run | None = None
        size_bytes = plain_bytes = 0
        began_at = 0.0
        try:
            run = await self._outbox.read(name, lane.sent, self._room_bytes(name, lane))
            if run is not None:
                plain = self._payload(name, run, missing=max(0, run.first - lane.told - 1))
                payload = await self._packed(plain)
            if is_past():
                return
            if run is None:  # dropped meanwhile, or the disk cannot be read
                self._lanes[name] = replace(self._lanes[name], not_before=self._clock.up() + EMPTY_S)
                return
            size_bytes, plain_bytes, began_at = len(payload), len(plain), self._clock.up()
            self._lanes[name] = lanes.sending(self._lanes[name], run.last)
            await self._publisher.publish(self._shell(name, payload))
            now = self._clock.up()
            self._pace = pace.arrived(self._pace, plain_bytes, now - began_at, now=now)
        except NotConnectedError:
            self._pace = pace.lost(self._pace, plain_bytes, now=self._clock.up())
            if not is_past():  # the link says so before its event comes
                self._connected = False
        except EdgeAgentError as error:
            if not is_past():
                self._failed(name, run, size_bytes, error)
        else:
            if not is_past():
                self._taken(name, run)
        finally:
            self._under_way.discard(name)
            self._outbox.arrived.set()

    def _taken(self, name: str, run: Run) -> None:
        options = self._options
        self.sent_messages += 1
        self.sent_samples += len(run.lines)
        self._complained.discard(name)
        lane = lanes.taken(
            self._lanes[name],
            now=self._clock.up(),
            acknowledged=options.acknowledge,
            patience_s=options.acknowledge_s,
        )
        self._set(name, lane)

    def _failed(self, name: str, run: Run | None, size_bytes: int, error: EdgeAgentError) -> None:
        lane, now = self._lanes[name], self._clock.up()
        if not isinstance(error, TooLargeError):
            self._complain(name, error)
            temporary = not isinstance(error, PublishRefusedError) or error.temporary
            self._lanes[name] = lanes.refused(lane, now=now, temporary=temporary)
        elif run is not None and len(run.lines) > 1:
            self._lanes[name] = lanes.too_large(lane, size_bytes)
        elif lane.waiting:  # nothing behind what waits for its acknowledgement can be given up yet
            self._lanes[name] = replace(lane, flying=0, not_before=now + EMPTY_S)
        else:
            self._complain(name, error)
            self._outbox.discard(name, lane.flying)
            self._lanes[name] = lanes.discarded(lane)

    async def _tell(self) -> None:
        try:
            await self._raised.publish(self._publisher)
        except NotConnectedError:
            self._connected = False
        except EdgeAgentError as error:
            self._complain("alarms", error)
            self._tell_at = self._clock.up() + lanes.REFUSED_FIRST_S
        finally:
            self._telling = False
            self._outbox.arrived.set()

    def _lane(self, name: str) -> Lane | None:
        """None for a type that the outbox does not know."""
        if self._log != self._outbox.log:
            self._log = self._outbox.log
            self._lanes.clear()
        line = self._outbox.line(name)
        if line is None:
            return None
        if name not in self._lanes:
            self._lanes[name] = lanes.begun(line.confirmed)
        return self._lanes[name]

    def _set(self, name: str, lane: Lane) -> None:
        if lane.confirmed > self._lanes[name].confirmed:
            self._outbox.confirm(name, lane.confirmed)
        self._lanes[name] = lane

    def _room_bytes(self, name: str, lane: Lane) -> int:
        """For the samples of one message."""
        if self._options.format == "thin-edge":
            return 1
        room_bytes = self._publisher.room_bytes(self._shell(name, b""))
        return min(self._pace.size_bytes, lane.limit_bytes, room_bytes) - message.ENVELOPE_BYTES

    def _payload(self, name: str, run: Run, *, missing: int) -> bytes:
        line = self._outbox.line(name)
        assert line is not None
        if self._options.format == "thin-edge":
            return message.single(run.lines[0], run.first, line.kind)
        up_s = self._clock.up() if run.boot == self._clock.boot else None
        return message.batch(run, log=self._outbox.log, missing=missing, up_s=up_s)

    async def _packed(self, payload: bytes) -> bytes:
        """A long one takes milliseconds to deflate: not in the loop's thread."""
        if not self._options.deflate or self._options.format == "thin-edge":
            return payload
        if len(payload) <= THREAD_BYTES:
            return message.deflated(payload)
        return await asyncio.to_thread(message.deflated, payload)

    def _shell(self, name: str, payload: bytes) -> Publication:
        line = self._outbox.line(name)
        measured = line is not None and line.kind is Kind.MEASUREMENT
        return Publication(
            topic=self._topics.measurement(name) if measured else self._topics.event(name),
            payload=payload,
            content_type="application/json" if payload.startswith(b"{") else message.DEFLATED,
        )

    def _complain(self, name: str, error: EdgeAgentError) -> None:
        level = logging.DEBUG if name in self._complained else logging.WARNING
        _log.log(level, "telemetry %s cannot be sent: %s", name, error)
        self._complained.add(name)
