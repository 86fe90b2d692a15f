"""From messages to commands: read, compared with the journal, admitted or refused, written down, acknowledged."""

from __future__ import annotations

import logging
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent.errors import DiskFullError, EdgeAgentError
from agent.fleet.commands.admission import Admitted, Situation, admit
from agent.fleet.commands.arrival import Action, Known, decide
from agent.fleet.commands.clocks import Clocks
from agent.fleet.commands.entry import Entry, Key, digest_of
from agent.fleet.commands.journal_thread import JournalThread
from agent.fleet.commands.line import Line
from agent.fleet.commands.message import Init, Malformed, Message, may_answer_on, read_command, read_request
from agent.fleet.commands.operation import AnyOperation, Instance
from agent.fleet.commands.permissions import Permissions
from agent.fleet.commands.report import ECHO_BYTES
from agent.fleet.commands.speaker import Speaker
from agent.fleet.commands.states import End, State, failed
from agent.fleet.commands.work import Work, Workshop
from agent.fleet.link.messages import Received
from agent.fleet.topics import Topics

REFUSED_KEPT: Final = 4096
_ID_USED: Final = failed("Another command has had this id. Send it again with a new one.", "id_used")
_DISOWNED: Final = failed("This device does not know it any more: it may have happened.", "interrupted")
_RETAINED: Final = failed("A request must not be retained: it would come again at every connect.", "invalid_request")
_KEPT_END: Final = failed("It came before and failed; why is not kept any more.", "failed")

_log = logging.getLogger("agent.fleet.commands")


@dataclass(frozen=True, eq=False)
class Arrival:
    received: Received
    key: Key
    message: Message
    digest: bytes


@dataclass(frozen=True)
class New:
    """A command to be written down; `admitted` is None where it has ended already."""

    arrival: Arrival
    entry: Entry
    admitted: Admitted | None


class Intake:
    """`distrusted` tells whether the journal was lost a moment ago, `instance` is this start of the daemon."""

    def __init__(
        self,
        line: Line,
        topics: Topics,
        thread: JournalThread,
        speaker: Speaker,
        workshop: Workshop,
        *,
        operations: Mapping[str, AnyOperation],
        permissions: Permissions,
        clocks: Clocks,
        distrusted: Callable[[], bool],
        instance: Instance,
    ) -> None:
        self._line = line
        self._topics = topics
        self._thread = thread
        self._speaker = speaker
        self._workshop = workshop
        self._operations = operations
        self._permissions = permissions
        self._clocks = clocks
        self._distrusted = distrusted
        self._instance = str(instance)
        self._refused: OrderedDict[Key, End] = OrderedDict()
        """What could not be written down, so that it fails again when it comes again."""
        self._misled = False
        self.counts: Counter[str] = Counter()

    async def take(self, batch: Sequence[Received], unavailable: EdgeAgentError | None = None) -> None:
        """In order. With `unavailable`, why there is no journal, every new command is refused."""
        for part in _without_repetition(batch):
            arrivals = [arrival for received in part if (arrival := self._read(received)) is not None]
            await self._take(arrivals, unavailable)

    async def _take(self, arrivals: Sequence[Arrival], unavailable: EdgeAgentError | None) -> None:
        known: dict[Arrival, Known] = {}
        if unavailable is None:
            try:
                known = await self._look_up(arrivals)
            except EdgeAgentError as error:
                unavailable = error
        new: list[New] = []
        cleared: list[int] = []
        done: list[Received] = []
        for arrival in arrivals:
            found = known.get(arrival)
            action = decide(arrival.message, found, arrival.digest)
            self.counts[action.name.lower()] += 1
            if action is Action.BEGIN:
                if (one := self._new(arrival, unavailable, new)) is not None:
                    new.append(one)
                continue
            if action in (Action.CANCEL, Action.FORGET) and found is not None and found.seq is not None:
                cleared.append(found.seq)
            elif action is Action.REPEAT and found is not None:
                await self._repeat(arrival, found)
            elif action is Action.REFUSE_ID:
                self._refuse(arrival, _ID_USED)
                continue
            elif action is Action.DISOWN and unavailable is None:
                self._refuse(arrival, _DISOWNED)
                continue
            done.append(arrival.received)
        await self._write(new, cleared)
        for received in done:
            self._line.acknowledge(received)

    async def _write(self, new: Sequence[New], cleared: Sequence[int]) -> None:
        """On the disk, then acknowledged, then begun."""
        if not new and not cleared:
            return
        try:
            added = await self._add([one.entry for one in new], cleared)
        except EdgeAgentError as error:
            _log.warning("%d commands were refused: %s", len(new), error)
            for one in new:
                if one.admitted is not None:
                    self._take_back(one)
                self._refuse(one.arrival, failed(str(error), error.code), remember=True)
            added = []
        for one, entry in zip(new, added, strict=False):
            self._line.acknowledge(one.arrival.received)
            if one.admitted is not None:
                self._workshop.take(Work(entry, one.admitted.operation, one.admitted.args))
            else:
                self._speaker.say(entry)
        for seq in cleared:
            self._speaker.cleared(seq)
            if (work := self._workshop.of(seq)) is not None:
                self._workshop.give_up(work)
            elif (ended := await self._thread.run(self._thread.journal.read, seq)) is not None:
                self._speaker.forget_pieces([(ended.key, ended.piece_count)])

    async def _add(self, entries: Sequence[Entry], cleared: Sequence[int]) -> list[Entry]:
        journal = self._thread.journal
        try:
            return await self._thread.run(journal.add, entries, cleared)
        except DiskFullError:
            self._speaker.forget_pieces(await self._thread.run(journal.prune))
            return await self._thread.run(journal.add, entries, cleared)

    async def _look_up(self, arrivals: Sequence[Arrival]) -> dict[Arrival, Known]:
        journal = self._thread.journal
        keys = [arrival.key for arrival in arrivals if not arrival.key.rpc]
        by_key = await self._thread.run(journal.find, keys) if keys else {}
        found = {arrival: by_key[arrival.key] for arrival in arrivals if arrival.key in by_key}
        for arrival in arrivals:
            received = arrival.received
            if arrival.key.rpc and received.duplicate:
                again = await self._thread.run(
                    journal.find_request, arrival.key.operation, arrival.digest, received.packet_id
                )
                if again is not None:
                    found[arrival] = again
        return found

    def _read(self, received: Received) -> Arrival | None:
        """None for what is no command of this device."""
        payload, oversized_bytes = received.payload, received.oversized_bytes
        if (command := self._topics.parse_command(received.topic)) is not None:
            digest = digest_of(payload)
            return Arrival(received, Key(*command), read_command(payload, oversized_bytes), digest)
        if (operation := self._topics.parse_request(received.topic)) is not None:
            key = Key(operation, uuid.uuid4().hex, rpc=True)
            digest = digest_of(payload, received.response_topic, received.correlation)
            arrival = Arrival(received, key, read_request(payload, oversized_bytes), digest)
            if not received.retain:
                return arrival
            self._refuse(arrival, _RETAINED)
        else:
            self._line.acknowledge(received)
        self.counts["ignore"] += 1
        return None

    def _new(self, arrival: Arrival, unavailable: EdgeAgentError | None, before: Sequence[New]) -> New | None:
        """None for what is refused without a trace in the journal. `before` came just now, too."""
        if unavailable is not None:
            self._refuse(arrival, failed(str(unavailable), unavailable.code), remember=True)
            return None
        if (refused := self._refused.get(arrival.key)) is not None:
            self._refuse(arrival, refused)
            return None
        message = arrival.message
        assert isinstance(message, Init | Malformed)
        entry = self._entry(arrival)
        waiting = [one.entry for one in before if one.admitted is not None and one.entry.state is State.QUEUED]
        waiting += [work.entry for work in self._workshop.works if work.entry.state is State.QUEUED]
        now_s = self._thread.journal.now_s
        situation = Situation(
            now_s=now_s,
            expired=self._clocks.over(entry.deadline),
            waiting=sum(one.key.operation == arrival.key.operation for one in waiting),
            waiting_bytes=sum(len(one.request or b"") for one in waiting),
            distrusted=self._distrusted(),
        )
        decision = admit(arrival.key.operation, message, self._operations, self._permissions, situation)
        if isinstance(decision, End):
            self.counts["refused"] += 1
            if arrival.key.rpc:  # acknowledged after its answer: nothing is left that could come again
                self._refuse(arrival, decision)
                return None
            return New(arrival, replace(_ended(entry, decision), request=_short(entry.request)), None)
        entry = replace(entry, granted_s=now_s)
        lane = self._workshop.lane(arrival.key.operation)
        if lane.free:
            lane.running += 1
            entry = replace(entry, state=State.EXECUTING, attempts=1, instance=self._instance)
        return New(arrival, entry, decision)

    def _take_back(self, one: New) -> None:
        operation = one.entry.key.operation
        self._permissions.take_back(operation, one.entry.granted_s)
        if one.entry.state is State.EXECUTING:
            self._workshop.leave_place(operation)

    def _entry(self, arrival: Arrival) -> Entry:
        received, message = arrival.received, arrival.message
        known = message if isinstance(message, Init) else Init({})
        topic = received.response_topic if arrival.key.rpc else None
        if topic is not None and not may_answer_on(topic, self._topics.root):
            level = logging.DEBUG if self._misled else logging.WARNING  # whoever asks so does it often
            _log.log(level, "a request wants its answer on %r, where this device does not answer", topic[:80])
            self._misled = True
            topic = None
        return Entry(
            key=arrival.key,
            digest=arrival.digest,
            state=State.QUEUED,
            deadline=self._clocks.deadline(
                expires_at=known.expires_at, issued_at=known.issued_at, message_expiry_s=received.expiry_s
            ),
            packet_id=received.packet_id if arrival.key.rpc else 0,
            request=received.payload if not isinstance(message, Malformed) else None,
            response_topic=topic,
            correlation=received.correlation if topic is not None else None,
        )

    async def _repeat(self, arrival: Arrival, found: Known) -> None:
        """How it stands is said again. If the topic had been cleared, it is not clear any more, unless what came is
        from before that."""
        if found.seq is None:
            end = _KEPT_END if found.state is State.FAILED else End(found.state)
            self._speaker.say(replace(_ended(self._entry(arrival), end), request=None))
            return
        work = self._workshop.of(found.seq)
        try:
            entry = work.entry if work else await self._thread.run(self._thread.journal.read, found.seq)
        except EdgeAgentError:
            entry = None
        if entry is not None:
            self._speaker.say(replace(entry, cleared=entry.cleared and arrival.received.duplicate))

    def _refuse(self, arrival: Arrival, end: End, *, remember: bool = False) -> None:
        entry = _ended(self._entry(arrival), end)
        self._speaker.refuse(replace(entry, request=_short(entry.request)), arrival.received)
        if remember and not arrival.key.rpc:
            self._refused[arrival.key] = end
            while len(self._refused) > REFUSED_KEPT:
                self._refused.popitem(last=False)


def _ended(entry: Entry, end: End) -> Entry:
    return entry.ended(end.state, reason=end.reason, code=end.code)


def _short(request: bytes | None) -> bytes | None:
    """Only what would come back is kept of what is not carried out."""
    return request if request is not None and len(request) <= ECHO_BYTES else None


def _without_repetition(batch: Sequence[Received]) -> Iterator[list[Received]]:
    """In parts of which none has two messages of one command."""
    part: list[Received] = []
    for received in batch:
        if any(received.topic == other.topic for other in part):
            yield part
            part = []
        part.append(received)
    if part:
        yield part
