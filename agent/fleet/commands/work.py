"""Commands under way: in each operation's lane they begin in the order in which they came, a few at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from agent.errors import EdgeAgentError
from agent.fleet.commands.clocks import Clocks
from agent.fleet.commands.crew import Crew
from agent.fleet.commands.entry import Entry
from agent.fleet.commands.journal_thread import JournalThread
from agent.fleet.commands.line import Line
from agent.fleet.commands.operation import AnyOperation, Args, Instance
from agent.fleet.commands.pieces import PieceStream
from agent.fleet.commands.report import trimmed
from agent.fleet.commands.speaker import Speaker
from agent.fleet.commands.states import CANCELLED, EXPIRED, End, Move, State, failed, moved
from agent.fleet.topics import Topics

RESULT_LIMIT_BYTES: Final = 8 * 1024 * 1024
RETRY_S: Final = 5.0
"""How often something is tried again that the disk has refused."""

_log = logging.getLogger("agent.fleet.commands")


@dataclass(eq=False)
class Work:
    """A command that has not ended. `wanted`: nobody has cleared it."""

    entry: Entry
    operation: AnyOperation
    args: Args
    wanted: bool = True
    task: asyncio.Task[None] | None = None
    """While it may be broken off."""
    ended: Entry | None = None
    """Its end, until that is written down."""

    @property
    def waits_for_time(self) -> bool:
        """Whether it may become too late to begin."""
        deadline = self.entry.deadline
        return self.entry.state is State.QUEUED and (deadline.left_s is not None or deadline.expires_at is not None)


@dataclass
class Lane:
    """One operation's. `running` counts those that may begin before they were written down, too."""

    concurrency: int
    running: int = 0
    waiting: deque[Work] = field(default_factory=deque)

    @property
    def free(self) -> bool:
        return self.running < self.concurrency and not self.waiting


class Workshop:
    """`concurrency` is by operation; `instance` is this start of the daemon."""

    def __init__(
        self,
        line: Line,
        topics: Topics,
        thread: JournalThread,
        speaker: Speaker,
        crew: Crew,
        *,
        concurrency: Callable[[str], int],
        clocks: Clocks,
        instance: Instance,
    ) -> None:
        self._line = line
        self._topics = topics
        self._thread = thread
        self._speaker = speaker
        self._crew = crew
        self._concurrency = concurrency
        self._clocks = clocks
        self._instance = str(instance)
        self._lanes: dict[str, Lane] = {}
        self._works: dict[int, Work] = {}

    def lane(self, operation: str) -> Lane:
        if operation not in self._lanes:
            self._lanes[operation] = Lane(self._concurrency(operation))
        return self._lanes[operation]

    @property
    def works(self) -> tuple[Work, ...]:
        """In the order in which they came."""
        return tuple(self._works.values())

    def of(self, seq: int) -> Work | None:
        return self._works.get(seq)

    def take(self, work: Work) -> None:
        """A command that was written down; one that is `EXECUTING` already has a place in its lane."""
        self._works[work.entry.seq] = work
        if work.entry.state is State.EXECUTING:
            self._speaker.say(work.entry)
            self._start(work)
        else:
            lane = self.lane(work.operation.name)
            lane.waiting.append(work)
            self._advance(lane)

    def give_up(self, work: Work) -> None:
        """Its topic was cleared. What is not repeatable goes on to its end once it has begun."""
        work.wanted = False
        lane = self.lane(work.operation.name)
        if work in lane.waiting:
            lane.waiting.remove(work)
            self._crew.start(self._finish(work, CANCELLED))
        elif work.operation.repeatable and work.task is not None:
            work.task.cancel()

    def expire(self) -> None:
        """Ends what waits and may not begin any more."""
        for lane in self._lanes.values():
            for work in [waiting for waiting in lane.waiting if self._clocks.over(waiting.entry.deadline)]:
                lane.waiting.remove(work)
                self._crew.start(self._finish(work, EXPIRED))

    async def leave(self) -> None:
        """When the daemon stops: what has ended is written down if it can be; what shall begin again at the next start
        was not interrupted by any fault of its own."""
        journal = self._thread.journal
        for work in self._works.values():
            try:
                if work.ended is not None:
                    await self._thread.run(journal.finish, work.ended)
                elif work.operation.repeatable and work.wanted:
                    await self._thread.run(journal.queue_again, [work.entry.seq], forgiven=True)
            except EdgeAgentError as error:
                _log.warning("%s was not written down: %s", work.entry.key.operation, error)

    def leave_place(self, operation: str) -> None:
        """What had a place in this lane did not begin."""
        lane = self.lane(operation)
        lane.running -= 1
        self._advance(lane)

    def _advance(self, lane: Lane) -> None:
        while lane.waiting and lane.running < lane.concurrency:
            lane.running += 1
            self._start(lane.waiting.popleft())

    def _start(self, work: Work) -> None:
        name = f"command {work.entry.key.operation}/{work.entry.key.id}"
        work.task = self._crew.start(self._carry_out(work), name=name)

    async def _carry_out(self, work: Work) -> None:
        lane = self.lane(work.operation.name)
        try:
            end = await self._run(work) if await self._begun(work) else EXPIRED
        except asyncio.CancelledError:
            if work.wanted:
                raise
            end = CANCELLED  # by its sender, not by the end of the daemon
            await self._withdraw(work)
        work.task = None
        lane.running -= 1
        self._advance(lane)
        await self._finish(work, end)

    async def _withdraw(self, work: Work) -> None:
        try:
            await work.operation.withdraw(work.args)
        except EdgeAgentError as error:
            _log.warning("%s was cleared; what it had begun goes on: %s", work.entry.key.operation, error)

    async def _begun(self, work: Work) -> bool:
        """Written down that it begins, where that was not done on its arrival. False if it is too late."""
        while work.entry.state is State.QUEUED:
            if self._clocks.over(work.entry.deadline):
                return False
            try:
                seq, durable = work.entry.seq, not work.operation.repeatable
                work.entry = await self._thread.run(self._thread.journal.begin, seq, self._instance, durable=durable)
                self._speaker.say(work.entry)
            except EdgeAgentError as error:
                _log.warning("%s waits: %s", work.entry.key.operation, error)
                await asyncio.sleep(RETRY_S)
        return True

    async def _run(self, work: Work) -> End:
        key = work.entry.key
        topic = None if key.rpc else self._topics.stream(key.operation, key.id)
        try:
            async with PieceStream(self._line, topic) as pieces:
                made = await work.operation.run(work.args, pieces=pieces)
            result = msgspec.json.encode(made)
        except EdgeAgentError as error:
            return failed(str(error), error.code)
        except Exception:
            _log.exception("the command %s failed", key.operation)
            return failed("Something went wrong inside edge-agent; its log says what.", "internal_error")
        if len(result) > RESULT_LIMIT_BYTES:
            reason = f"The result has {len(result):,} bytes, more than {RESULT_LIMIT_BYTES:,}."
            return failed(reason, "result_too_large")
        return End(State.SUCCESSFUL, result)

    async def _finish(self, work: Work, end: End) -> None:
        """Written down first, published then. Where the disk refuses, it is published, and written down when it can."""
        entry = work.entry
        moved(entry.state, Move.SUCCEED if end.state is State.SUCCESSFUL else Move.FAIL)
        ended = replace(
            entry.ended(end.state, result=end.result, reason=end.reason, code=end.code),
            request=trimmed(entry.request),
            cleared=entry.cleared or not work.wanted,
        )
        work.ended = ended
        said = False
        while True:
            try:
                await self._thread.run(self._thread.journal.finish, ended)
                break
            except EdgeAgentError as error:
                if not said:
                    _log.warning("the end of %s was not written down yet: %s", entry.key.operation, error)
                    self._speaker.say(ended)
                    said = True
                await asyncio.sleep(RETRY_S)
        work.entry = ended
        self._works.pop(entry.seq, None)
        self._speaker.say(ended)
