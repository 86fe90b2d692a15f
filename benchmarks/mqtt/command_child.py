"""A device that can be killed: `python -m benchmarks.mqtt.command_child URL FOLDER`.

A real link, journal and desk with three operations that write into FOLDER what they do, one line for each step, at
once: `note` (repeatable; its effect is one file), `strike` (not repeatable), `restart` (ends the process).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.fleet.commands.desk import CommandDesk
from agent.fleet.commands.device import Restarted
from agent.fleet.commands.journal import Journal
from agent.fleet.commands.operation import Args, Operation, Pieces
from agent.fleet.commands.operations.restart import RestartOperation
from agent.fleet.commands.permissions import Permission, Permissions
from agent.fleet.link.address import Address
from agent.fleet.link.backoff import Pauses
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import Topics

DEVICE = "device"
STEPS = "steps.txt"
NOTES = "notes"


class Diary:
    """Lines that outlive the process, though not the power."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / NOTES).mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / STEPS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *words: str) -> None:
        os.write(self._file, (" ".join(words) + "\n").encode())


class StepArgs(Args, kw_only=True):
    id: str
    steps: int = 1
    step_s: float = 0.0


class StepOperation(Operation[StepArgs]):
    args = StepArgs

    def __init__(self, diary: Diary) -> None:
        self._diary = diary

    async def run(self, args: StepArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        self._diary.write(self.name, args.id, "begun")
        for number in range(args.steps):
            await asyncio.sleep(args.step_s)
            await pieces({"step": number})
        self.affect(args.id)
        self._diary.write(self.name, args.id, "done")
        await asyncio.sleep(args.step_s)
        return {"did": args.id}

    def affect(self, id: str) -> None:
        """What it is for, besides the lines."""


class NoteOperation(StepOperation):
    name = "note"
    title = "Notes an id."
    repeatable = True

    def affect(self, id: str) -> None:
        (self._diary.folder / NOTES / id).touch()


class StrikeOperation(StepOperation):
    name = "strike"
    title = "Does something that must not be done twice."
    repeatable = False


class Exit:
    """As much of a device as `restart` needs."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary

    async def restart(self, what: Restarted) -> None:
        self._diary.write("restart", what, "begun")
        os._exit(0)


async def main(url: str, folder: Path) -> None:
    diary = Diary(folder)
    topics = Topics("te", DEVICE)
    settings = LinkSettings(
        brokers=(Address.parse(url),), client_id="edge-agent-device", pauses=Pauses(first_s=0.2, cap_s=1.0)
    )
    link = Link(
        settings,
        will=Publication(topic=topics.health, payload=b"down", retain=True),
        subscriptions=[topics.commands_filter, topics.requests_filter],
    )
    desk = CommandDesk(
        link,
        Journal(folder / "commands.db"),
        [NoteOperation(diary), StrikeOperation(diary), RestartOperation(Exit(diary))],  # type: ignore[arg-type]
        Permissions(
            {
                "note": Permission(allow=True, concurrency=3, per_hour=1_000_000),
                "strike": Permission(allow=True, concurrency=1, per_hour=1_000_000),
                "restart": Permission(allow=True, concurrency=1, per_hour=1_000_000),
            }
        ),
        topics,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        group.create_task(desk.run())
        async for event in link.events():
            if isinstance(event, Connected):
                desk.connected()
                await link.publish(Publication(topic=topics.health, payload=b"up", retain=True))
            elif isinstance(event, Received):
                await desk.handle(event)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
