"""The desk: takes commands from the link, has them written down and carried out, says how they stand.

What holds, whatever is killed at whatever moment:

- A message is acknowledged after its command is on the disk; until then the broker delivers it again.
- A command is known by its operation and id, and a final state never changes: however often it comes, it ends once.
- An end is on the disk before it is published, and is published until the broker has confirmed it.
- What is not repeatable is written down as begun before it begins, and never begun twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from agent.errors import EdgeAgentError, UnavailableError
from agent.fleet.commands.clocks import Clocks
from agent.fleet.commands.crew import Crew
from agent.fleet.commands.entry import Entry
from agent.fleet.commands.intake import Intake
from agent.fleet.commands.journal import Journal
from agent.fleet.commands.journal_thread import JournalThread
from agent.fleet.commands.line import Line
from agent.fleet.commands.message import Init, read_command, read_request
from agent.fleet.commands.operation import AnyOperation, Args, Instance, capability, read_args
from agent.fleet.commands.permissions import Permissions
from agent.fleet.commands.speaker import Speaker
from agent.fleet.commands.states import NOT_ALLOWED, State, Unfinished, resumed
from agent.fleet.commands.work import RETRY_S, Work, Workshop
from agent.fleet.link.messages import Publication, Received
from agent.fleet.topics import Topics
from agent.hardware.sensors.boot import read_boot_id, up_s

BATCH: Final = 64
TEND_S: Final = 600.0
PRUNE_EVERY: Final = 256
"""So many commands later the journal is looked through."""
DISTRUST_S: Final = 60.0
"""After a lost journal, what comes within this time of a connection may be a command that it knew."""

_log = logging.getLogger("agent.fleet.commands")


class CommandDesk:
    """`run` belongs into a task; `handle` every message of `subscriptions`, in order; `connected` at each connect.

    `clock` counts from the boot `boot` and is never set, `wall` is Unix time.
    """

    def __init__(
        self,
        link: Line,
        journal: Journal,
        operations: Sequence[AnyOperation],
        permissions: Permissions,
        topics: Topics,
        *,
        clock: Callable[[], float] = up_s,
        wall: Callable[[], float] = time.time,
        boot: str | None = None,
    ) -> None:
        self._line = link
        self._thread = JournalThread(journal)
        self._operations = {operation.name: operation for operation in operations}
        self._permissions = permissions
        self._topics = topics
        self._clocks = Clocks(up=clock, wall=wall, boot=boot or read_boot_id())
        self._instance = Instance(self._clocks.boot, uuid.uuid4().hex)
        self._inbox: asyncio.Queue[Received] = asyncio.Queue(BATCH)
        self._connects = asyncio.Event()
        self._reconnected = False
        self._met = False
        """Whether a broker was there since the start."""
        self._look = asyncio.Event()
        self._tried = asyncio.Event()
        self._unavailable: EdgeAgentError | None = UnavailableError("The commands' journal is not open yet.")
        self._losses_seen = 0
        self._distrust_until = -math.inf
        self._since_prune = 0
        self._intake: Intake | None = None
        self._workshop: Workshop | None = None

    @property
    def subscriptions(self) -> tuple[str, ...]:
        return self._topics.commands_filter, self._topics.requests_filter

    def capabilities(self) -> dict[str, dict[str, Any] | None]:
        """By operation, what is published on its topic; None for one that is not allowed."""
        return {
            name: capability(operation) if self._permissions.of(name).allow else None
            for name, operation in self._operations.items()
        }

    def snapshot(self) -> Mapping[str, Any]:
        """For /status: plain values."""
        works = self._workshop.works if self._workshop else ()
        counts = self._intake.counts if self._intake else {}
        return {
            "executing": sum(work.entry.state is State.EXECUTING for work in works),
            "waiting": sum(work.entry.state is State.QUEUED for work in works),
            "taken": counts.get("begin", 0) - counts.get("refused", 0),
            "refused": counts.get("refused", 0),
            "repeated": counts.get("repeat", 0),
            "journal": str(self._unavailable) if self._unavailable else "open",
        }

    async def handle(self, received: Received) -> None:
        """Waits while much is under way already: then the broker waits, too."""
        await self._inbox.put(received)

    def connected(self) -> None:
        """A broker is there: what it has not confirmed is said (again)."""
        if self._distrust_until == math.inf:
            self._distrust_until = self._clocks.up() + DISTRUST_S
        self._met = self._reconnected = True
        self._connects.set()

    async def run(self) -> None:
        """Until cancelled. Commands that are carried out then go on at the next start, or end there."""
        try:
            async with Crew() as crew:
                speaker = Speaker(self._line, self._topics, self._thread, crew)
                workshop = Workshop(
                    self._line,
                    self._topics,
                    self._thread,
                    speaker,
                    crew,
                    concurrency=lambda name: self._permissions.of(name).concurrency,
                    clocks=self._clocks,
                    instance=self._instance,
                )
                intake = Intake(
                    self._line,
                    self._topics,
                    self._thread,
                    speaker,
                    workshop,
                    operations=self._operations,
                    permissions=self._permissions,
                    clocks=self._clocks,
                    distrusted=lambda: self._clocks.up() < self._distrust_until,
                    instance=self._instance,
                )
                self._workshop, self._intake = workshop, intake
                crew.start(self._resume(workshop), "resume commands")
                crew.start(self._take_in(intake, speaker), "commands")
                crew.start(self._say(speaker, workshop), "states of commands")
                crew.start(self._tend(speaker, workshop), "tidying of commands")
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._workshop is not None:
            await self._workshop.leave()
        await self._thread.close()

    async def _resume(self, workshop: Workshop) -> None:
        """What had not ended when the daemon did. Tried again while the journal cannot be used."""
        while True:
            try:
                await self._open(workshop)
                return
            except EdgeAgentError as error:
                if self._unavailable is None or str(error) != str(self._unavailable):
                    _log.error("commands are refused: %s", error)
                self._unavailable = error
            finally:
                self._tried.set()
            await asyncio.sleep(RETRY_S)

    async def _open(self, workshop: Workshop) -> None:
        journal = self._thread.journal
        await self._thread.run(journal.open)
        if await self._thread.run(journal.loss) is not None:
            self._distrust()
        for name in self._operations:
            self._permissions.remember(name, await self._thread.run(journal.grants, name))
        for entry in await self._thread.run(journal.unfinished):
            await self._resume_one(entry, workshop)
        self._unavailable = None
        self._connects.set()

    async def _resume_one(self, entry: Entry, workshop: Workshop) -> None:
        journal = self._thread.journal
        operation = self._operations.get(entry.key.operation)
        args = self._args(entry, operation)
        result = None
        if operation is not None and args is not None and entry.state is State.EXECUTING:
            result = operation.recognize(args, Instance.parse(entry.instance), self._instance)
        end = resumed(
            Unfinished(
                state=entry.state,
                cleared=entry.cleared,
                expired=self._clocks.over(entry.deadline),
                repeatable=operation is not None and operation.repeatable,
                recognized=result is not None,
                possible=args is not None and self._permissions.of(entry.key.operation).allow,
                attempts=entry.attempts,
            )
        )
        if end is None and (operation is None or args is None):
            end = NOT_ALLOWED
        if end is not None:
            encoded = msgspec.json.encode(result) if end.state is State.SUCCESSFUL else None
            ended = entry.ended(end.state, result=encoded, reason=end.reason, code=end.code)
            await self._thread.run(journal.finish, ended)
            return
        assert operation is not None
        assert args is not None
        await self._thread.run(journal.queue_again, [entry.seq], forgiven=False)
        workshop.take(Work(replace(entry, state=State.QUEUED), operation, args))

    def _args(self, entry: Entry, operation: AnyOperation | None) -> Args | None:
        """None where there is no such operation any more, or it takes other arguments."""
        if operation is None or entry.request is None:
            return None
        message = read_request(entry.request) if entry.key.rpc else read_command(entry.request)
        try:
            return read_args(operation, message.args) if isinstance(message, Init) else None
        except EdgeAgentError:
            return None

    async def _take_in(self, intake: Intake, speaker: Speaker) -> None:
        await self._tried.wait()
        while True:
            batch = [await self._inbox.get()]
            while len(batch) < BATCH and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            await speaker.room()
            try:
                await intake.take(batch, self._unavailable)
            except Exception:
                _log.exception("%d messages could not be dealt with", len(batch))
                for received in batch:  # never again, rather than again and again
                    self._line.acknowledge(received)
            self._since_prune += len(batch)
            self._notice_loss()
            if self._since_prune >= PRUNE_EVERY or any(work.waits_for_time for work in self._works()):
                self._look.set()

    def _works(self) -> tuple[Work, ...]:
        return self._workshop.works if self._workshop else ()

    def _notice_loss(self) -> None:
        losses = self._thread.journal.losses
        if losses > self._losses_seen:
            self._losses_seen = losses
            self._distrust()
            self._connects.set()

    def _distrust(self) -> None:
        self._distrust_until = self._clocks.up() + DISTRUST_S if self._met else math.inf

    async def _say(self, speaker: Speaker, workshop: Workshop) -> None:
        """At each connect, when what is under way is said again for a broker that forgot it, and now and then."""
        while True:
            await self._connects.wait()
            self._connects.clear()
            reconnected, self._reconnected = self._reconnected, False
            for work in workshop.works if reconnected else ():
                await speaker.room()
                speaker.say(work.entry)
            with contextlib.suppress(EdgeAgentError):
                await speaker.say_all()
                await self._say_loss()

    async def _say_loss(self) -> None:
        journal = self._thread.journal
        if (loss := await self._thread.run(journal.loss)) is None:
            return
        payload = msgspec.json.encode({"text": loss, "time": self._clocks.wall()})
        await self._line.publish(Publication(topic=self._topics.event("command_journal_lost"), payload=payload))
        await self._thread.run(journal.loss_said)

    async def _tend(self, speaker: Speaker, workshop: Workshop) -> None:
        """Ends what waited too long; keeps the journal small."""
        pruned_at = -math.inf
        while True:
            workshop.expire()
            self._notice_loss()
            now = self._clocks.up()
            if self._unavailable is None and (self._since_prune >= PRUNE_EVERY or now - pruned_at >= TEND_S):
                pruned_at, self._since_prune = now, 0
                try:
                    speaker.forget_pieces(await self._thread.run(self._thread.journal.prune))
                except EdgeAgentError as error:
                    _log.warning("the command journal was not tidied up: %s", error)
                self._connects.set()
            waits = [self._clocks.remaining_s(work.entry.deadline) for work in workshop.works if work.waits_for_time]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min([TEND_S, *waits]) + 0.01):
                    await self._look.wait()
            self._look.clear()
