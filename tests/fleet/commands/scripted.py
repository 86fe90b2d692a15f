"""A desk over a line that is a script: what the broker would say, and what it was told."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.errors import EdgeAgentError, NotConnectedError, RequestError, TooLargeError
from agent.fleet.commands.desk import CommandDesk
from agent.fleet.commands.journal import Journal
from agent.fleet.commands.keeping import Keeping
from agent.fleet.commands.operation import AnyOperation, Args, Instance, NoArgs, Operation, Pieces
from agent.fleet.commands.permissions import Permission, Permissions
from agent.fleet.link.messages import Publication, Received
from agent.fleet.topics import Topics

PATIENCE_S = 5.0
TOPICS = Topics("te", "d")
WIDE_OPEN = Permission(allow=True, concurrency=1, per_hour=1000)
_packets = itertools.count(1)


class ScriptedLine:
    """Confirms everything at once while `connected`; `refusal` is what it raises instead."""

    def __init__(self, packet_bytes: int = 65_536) -> None:
        self.packet_bytes = packet_bytes
        self.connected = True
        self.refusal: EdgeAgentError | None = None
        self.breaks_after: str | None = None
        """The topic after which the connection is lost."""
        self.published: list[Publication] = []
        self.acknowledged: list[Received] = []
        self.changed = asyncio.Event()

    async def publish(self, publication: Publication) -> None:
        if not self.connected:
            raise NotConnectedError("No broker is connected.")
        if self.refusal is not None:
            raise self.refusal
        if publication.packet_bytes > self.packet_bytes:
            raise TooLargeError("too large")
        await asyncio.sleep(0)
        self.published.append(publication)
        if publication.topic == self.breaks_after:
            self.connected = False
        self.changed.set()

    def acknowledge(self, received: Received) -> None:
        self.acknowledged.append(received)
        self.changed.set()

    def room_bytes(self, publication: Publication) -> int:
        return max(0, self.packet_bytes - publication.overhead_bytes) if self.connected else 0

    def states(self, operation: str, id: str) -> list[dict[str, Any]]:
        topic = TOPICS.command(operation, id)
        return [json.loads(one.payload) for one in self.published if one.topic == topic and one.payload]

    def on(self, topic: str) -> list[Publication]:
        return [one for one in self.published if one.topic == topic]


class NoteArgs(Args, kw_only=True):
    text: str = ""
    wait: str | None = None
    fail: bool = False
    crash: bool = False
    pieces: int = 0
    result_bytes: int = 0


class NoteOperation(Operation[NoteArgs]):
    """Writes down what it was told in `done`. One with `wait` goes on when `release` was called with that name."""

    title = "Notes something."
    args = NoteArgs

    def __init__(self, name: str = "note", *, repeatable: bool = True) -> None:
        self.name = name  # type: ignore[misc]
        self.repeatable = repeatable  # type: ignore[misc]
        self.begun: list[str] = []
        self.done: list[str] = []
        self.cancelled: list[str] = []
        self.withdrawn: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    def release(self, name: str) -> None:
        self._gates.setdefault(name, asyncio.Event()).set()

    async def withdraw(self, args: NoteArgs) -> None:
        self.withdrawn.append(args.text)
        if args.fail:
            raise RequestError("It cannot be taken back.")

    async def run(self, args: NoteArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        self.begun.append(args.text)
        try:
            for number in range(args.pieces):
                await pieces({"text": f"piece {number}"})
            if args.wait is not None:
                await self._gates.setdefault(args.wait, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(args.text)
            raise
        if args.fail:
            raise RequestError("The note is wrong.", hint="Write another.")
        if args.crash:
            raise ZeroDivisionError("secret-in-a-traceback")
        self.done.append(args.text)
        return {"noted": args.text, "long": "x" * args.result_bytes} if args.result_bytes else {"noted": args.text}


class Reboot(Operation[NoArgs]):
    """A restart that never returns: the process is gone."""

    name = "restart"
    title = "Restarts."
    repeatable = False
    args = NoArgs

    def __init__(self) -> None:
        self.times = 0

    async def run(self, args: NoArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        self.times += 1
        await asyncio.Event().wait()
        return {}

    def recognize(self, args: NoArgs, then: Instance, now: Instance) -> Mapping[str, Any] | None:
        return {"restarted": True} if then != now else None


class Station:
    """A running desk and all around it. Time stands still until somebody moves it."""

    def __init__(self, line: ScriptedLine, operations: Sequence[AnyOperation]) -> None:
        self.line = line
        self.operations = {operation.name: operation for operation in operations}
        self.desk: CommandDesk
        self.up_s = 1000.0
        self.wall_s = 1_900_000_000.0

    async def send(self, operation: str, id: str, message: object = None, **more: Any) -> Received:
        """A command as a broker delivers it. `message` is its payload, or the args of an ordinary one."""
        payload = message
        if message is None or isinstance(message, dict):
            payload = json.dumps({"status": "init", "args": message or {}}).encode()
        assert isinstance(payload, bytes)
        return await self.deliver(TOPICS.command(operation, id), payload, **{"retain": True, **more})

    async def deliver(self, topic: str, payload: bytes, **more: Any) -> Received:
        received = Received(topic=topic, payload=payload, qos=1, **{"packet_id": next(_packets), **more})
        await self.desk.handle(received)
        return received

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def acknowledged(self, *messages: Received) -> None:
        await self.until(lambda: all(message in self.line.acknowledged for message in messages))

    async def state(self, operation: str, id: str, status: str) -> dict[str, Any]:
        """The first published state with this status."""

        def found() -> list[dict[str, Any]]:
            return [state for state in self.line.states(operation, id) if state["status"] == status]

        await self.until(found)
        return found()[0]

    async def end(self, operation: str, id: str) -> dict[str, Any]:
        """Its final state: the only one there is."""

        def finals() -> list[dict[str, Any]]:
            return [state for state in self.line.states(operation, id) if state["status"] in ("successful", "failed")]

        await self.until(finals)
        assert all(state == finals()[0] for state in finals())
        return finals()[0]


@asynccontextmanager
async def station(
    path: Path,
    *operations: AnyOperation,
    line: ScriptedLine | None = None,
    permissions: Mapping[str, Permission] | None = None,
    keeping: Keeping | None = None,
    boot: str = "boot-1",
    wall_s: float | None = None,
) -> AsyncIterator[Station]:
    """Leaving it is a stop as of a daemon that is told to."""
    operations = operations or (NoteOperation(), NoteOperation("strike", repeatable=False))
    made = Station(line or ScriptedLine(), operations)
    if wall_s is not None:
        made.wall_s = wall_s
    allowed = {operation.name: WIDE_OPEN for operation in operations} | dict(permissions or {})
    made.desk = CommandDesk(
        made.line,
        Journal(path, keeping=keeping, clock=lambda: made.up_s),
        operations,
        Permissions(allowed),
        TOPICS,
        clock=lambda: made.up_s,
        wall=lambda: made.wall_s,
        boot=boot,
    )
    task = asyncio.create_task(made.desk.run())
    made.desk.connected()
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def kill(path: Path, copy: Path) -> Path:
    """What a power cut leaves: the journal's files as they lie on the disk now."""
    copy.mkdir(parents=True)
    for end in ("", "-wal"):
        file = path.with_name(path.name + end)
        if file.exists():
            (copy / file.name).write_bytes(file.read_bytes())
    return copy / path.name
