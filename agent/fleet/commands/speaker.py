"""Says how commands stand: publishes their states, and what the broker has confirmed is noted in the journal.

Nothing waits here for a connection: what could not be said is in the journal, and `say_all` says it after a connect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from agent.errors import EdgeAgentError, NotConnectedError, PublishRefusedError, RequestError, TooLargeError
from agent.fleet.commands.crew import Crew
from agent.fleet.commands.entry import Entry, Key
from agent.fleet.commands.journal_thread import JournalThread
from agent.fleet.commands.line import Line
from agent.fleet.commands.report import cut, manifest_of, payload_of
from agent.fleet.commands.states import State
from agent.fleet.link.messages import Publication, Received
from agent.fleet.topics import Topics

AT_ONCE: Final = 16
WAITING: Final = 64
PAGE: Final = 16
PIECES_EXPIRE_S: Final = 86_400
"""Pieces of a result lie with the broker no longer than this (MQTT 5), whoever forgets to clear them."""

_log = logging.getLogger("agent.fleet.commands")


class Speaker:
    """`crew` runs what is being said."""

    def __init__(self, line: Line, topics: Topics, thread: JournalThread, crew: Crew) -> None:
        self._line = line
        self._topics = topics
        self._thread = thread
        self._crew = crew
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._saying: set[tuple[int, State]] = set()
        self._overtaken: set[int] = set()
        """Commands that were cleared while their state was on its way: it has filled the topic again."""
        self._refused_logged = False

    async def room(self) -> None:
        """Returns when there is not too much to be said already."""
        while len(self._tasks) >= WAITING:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def say(self, entry: Entry) -> None:
        """The state of `entry`, in the order of the calls."""
        if entry.state is State.QUEUED or (entry.key.rpc and not entry.state.final):
            return
        mark = (entry.seq, entry.state)
        if entry.seq == 0 or mark not in self._saying:
            self._saying.add(mark)
            self._start(self._say(entry))

    def refuse(self, entry: Entry, received: Received) -> None:
        """For what could not be written down: it is acknowledged once the sender can know that it failed."""
        self._start(self._refuse(entry, received))

    def cleared(self, seq: int) -> None:
        """The topic of this command was cleared, and shall stay so."""
        if any((seq, state) in self._saying for state in State):
            self._overtaken.add(seq)

    def forget_pieces(self, whose: Iterable[tuple[Key, int]]) -> None:
        """Clears the results that lie with the broker in pieces."""
        for key, count in whose:
            if count:
                self._start(self._clear_pieces(key, count))

    async def say_all(self) -> None:
        """Everything that the broker has not confirmed yet."""
        after = 0
        while page := await self._thread.run(self._thread.journal.unsaid, after, PAGE):
            for entry in page:
                await self.room()
                self.say(entry)
            after = page[-1].seq

    def _start(self, work: Any) -> None:
        task = self._crew.start(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _say(self, entry: Entry) -> None:
        async with self._slots:
            try:
                piece_count = await self._publish(entry)
                if entry.seq:
                    await self._thread.run(self._thread.journal.said, entry.seq, entry.state, piece_count)
                if entry.seq in self._overtaken:
                    self._overtaken.discard(entry.seq)
                    topic = self._topics.command(entry.key.operation, entry.key.id)
                    await self._line.publish(Publication(topic=topic, retain=True))
            except NotConnectedError:
                pass  # it is still unsaid in the journal
            except EdgeAgentError as error:
                _log.warning("the state of %s/%s was not said: %s", entry.key.operation, entry.key.id, error)
            finally:
                self._saying.discard((entry.seq, entry.state))

    async def _refuse(self, entry: Entry, received: Received) -> None:
        async with self._slots:
            try:
                await self._publish(entry)
            except NotConnectedError:
                return  # it comes again
            except EdgeAgentError as error:
                _log.warning("a refusal of %s/%s was not said: %s", entry.key.operation, entry.key.id, error)
        self._line.acknowledge(received)

    async def _publish(self, entry: Entry) -> int:
        """Returns into how many pieces the result was cut. Raises `NotConnectedError`, `UnavailableError`."""
        try:
            return await self._publish_fitting(entry)
        except PublishRefusedError as error:
            if error.temporary:
                raise
            level = logging.DEBUG if self._refused_logged else logging.WARNING
            self._refused_logged = True
            _log.log(level, "%s", error)
        except (TooLargeError, RequestError) as error:
            _log.warning("the state of %s/%s cannot be said: %s", entry.key.operation, entry.key.id, error)
        return 0

    async def _publish_fitting(self, entry: Entry) -> int:
        bare = self._publication(entry)
        if bare is None:
            return 0
        room_bytes = self._line.room_bytes(bare)
        if room_bytes <= 0:
            raise NotConnectedError("No broker is connected.")
        payload = payload_of(entry)
        if len(payload) <= room_bytes:
            await self._line.publish(replace(bare, payload=payload))
            return 0
        short = replace(entry, request=None)
        if entry.result is None:
            await self._line.publish(replace(bare, payload=payload_of(short)))
            return 0
        pieces = cut(entry.result, self._line.room_bytes(self._piece(entry.key, 999_999)))
        for index, piece in enumerate(pieces):
            await self._line.publish(replace(self._piece(entry.key, index), payload=piece))
        topic = self._topics.result(entry.key.operation, entry.key.id, 0).rpartition("/")[0]
        manifest = manifest_of(topic, entry.result, pieces)
        payload = payload_of(entry, pieces=manifest)
        if len(payload) > room_bytes:
            payload = payload_of(short, pieces=manifest)
        await self._line.publish(replace(bare, payload=payload))
        return len(pieces)

    def _publication(self, entry: Entry) -> Publication | None:
        """None where nobody wants to know. After a clear the topic stays empty: only who listens now hears the end."""
        key = entry.key
        if not key.rpc:
            topic = self._topics.command(key.operation, key.id)
            return Publication(topic=topic, retain=not entry.cleared, content_type="application/json")
        if entry.response_topic is None:
            return None
        return Publication(topic=entry.response_topic, correlation=entry.correlation, content_type="application/json")

    def _piece(self, key: Key, index: int) -> Publication:
        topic = self._topics.result(key.operation, key.id, index)
        return Publication(topic=topic, retain=True, expiry_s=PIECES_EXPIRE_S)

    async def _clear_pieces(self, key: Key, count: int) -> None:
        async with self._slots:
            for index in range(count):
                try:
                    await self._line.publish(replace(self._piece(key, index), expiry_s=None))
                except EdgeAgentError as error:
                    _log.debug("pieces of %s/%s were not cleared: %s", key.operation, key.id, error)
                    return
