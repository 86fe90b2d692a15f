"""A device is killed with -9 again and again while commands are under way; what became of each of them."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import NotConnectedError
from agent.fleet.link.address import Address
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import FleetTopics, Topics
from benchmarks.mqtt.command_child import DEVICE, NOTES, STEPS

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
MOST_OPEN = 20
"""With more commands than that without an end, the next kill waits until they have one: the broker keeps a queue."""
LONGEST_RUN_S = 1.2
_TOPICS = Topics("te", DEVICE)


@dataclass
class Outcome:
    """`problems` are sentences; there should be none."""

    kills: int = 0
    commands: int = 0
    sent: int = 0
    successful: Counter[str] = field(default_factory=Counter)
    interrupted: Counter[str] = field(default_factory=Counter)
    begun_again: int = 0
    problems: list[str] = field(default_factory=list)


class Sender:
    """Another client of the broker, which commands the device and listens."""

    def __init__(self, url: str, dice: random.Random) -> None:
        self._dice = dice
        self.link = Link(
            LinkSettings(brokers=(Address.parse(url),), client_id="sender"),
            will=Publication(topic="sender/health", payload=b"down"),
            subscriptions=[FleetTopics("te").filter("cmd/+/+")],
        )
        self.sent: dict[tuple[str, str], bytes] = {}
        self.ends: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self.cleared: set[tuple[str, str]] = set()
        self.messages = 0

    @property
    def open(self) -> set[tuple[str, str]]:
        """Commands without an end."""
        return self.sent.keys() - self.ends.keys()

    async def clear(self) -> None:
        """As a sender does with what has ended: else each connection brings it all again."""
        for command in [ended for ended in self.ends if ended not in self.cleared]:
            self.cleared.add(command)
            with suppress(NotConnectedError):
                await self.link.publish(Publication(topic=_TOPICS.command(*command), retain=True))

    async def listen(self) -> None:
        async for event in self.link.events():
            if isinstance(event, Received):
                self.link.acknowledge(event)
                command = _TOPICS.parse_command(event.topic)
                state = json.loads(event.payload or b"{}")
                if command is not None and state.get("status") in ("successful", "failed"):
                    ends = self.ends[command]
                    if state not in ends:
                        ends.append(state)

    async def send(self, operation: str, id: str) -> None:
        args: dict[str, Any] = {"id": id, "steps": self._dice.randint(1, 4), "step_s": self._dice.uniform(0, 0.03)}
        if operation == "restart":
            args = {"what": "agent"}
        payload = json.dumps({"status": "init", "args": args}).encode()
        self.sent[operation, id] = payload
        await self.publish(operation, id)

    async def publish(self, operation: str, id: str) -> None:
        publication = Publication(topic=_TOPICS.command(operation, id), payload=self.sent[operation, id], retain=True)
        while True:
            try:
                await self.link.publish(publication)
                self.messages += 1
                return
            except NotConnectedError:
                await asyncio.sleep(0.05)


class Device:
    def __init__(self, url: str, folder: Path) -> None:
        self._command = [sys.executable, "-m", "benchmarks.mqtt.command_child", url, str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Unless it runs."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(self._command, cwd=ROOT)

    def kill(self) -> bool:
        """With -9; whether it was running."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.kill()
        self._process.wait()
        return True


async def kill_often(url: str, folder: Path, *, runs: int, seed: int = 1) -> Outcome:
    """`runs` kills at random moments, each command delivered up to three times and once more when all is over."""
    dice = random.Random(seed)
    outcome = Outcome()
    sender, device = Sender(url, dice), Device(url, folder)
    tasks = [asyncio.create_task(sender.link.run()), asyncio.create_task(sender.listen())]
    try:
        number = 0
        while outcome.kills < runs:
            device.start()
            moment = asyncio.get_running_loop().time() + dice.uniform(0.0, LONGEST_RUN_S)
            for _ in range(dice.randint(3, 8)):
                number += 1
                operation = dice.choices(("note", "strike", "restart"), (10, 6, 1))[0]
                await sender.send(operation, str(number))
                for _ in range(dice.choice((0, 0, 1, 2))):
                    await sender.publish(*dice.choice(list(sender.sent)[-12:]))
                await asyncio.sleep(dice.uniform(0, 0.05))
            await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
            outcome.kills += device.kill()
            await sender.clear()
            if len(sender.open) > MOST_OPEN:
                await _settled(sender, device)
        await _settled(sender, device)
        begun = _steps(folder)
        for command in sender.sent:
            await sender.publish(*command)
        await asyncio.sleep(1.0)
        await _settled(sender, device)
        if _steps(folder) != begun:
            outcome.problems.append("commands that had ended did something again when they came again")
    except TimeoutError:
        missing = sorted(sender.open)
        outcome.problems.append(f"without an end after {PATIENCE_S:g} s: {missing[:10]}")
    finally:
        device.kill()
        await sender.link.close()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
    outcome.commands, outcome.sent = len(sender.sent), sender.messages
    _judge(sender, folder, outcome)
    return outcome


async def _settled(sender: Sender, device: Device) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sender.open:
            device.start()  # a restart has ended it
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    device.start()


def _steps(folder: Path) -> Counter[tuple[str, str, str]]:
    """How often the lines of each command were written."""
    lines = (folder / STEPS).read_text().splitlines()
    return Counter((operation, id, step) for operation, id, step in map(str.split, lines) if operation != "restart")


def _judge(sender: Sender, folder: Path, outcome: Outcome) -> None:
    steps = _steps(folder)
    restarts = sum(line.startswith("restart") for line in (folder / STEPS).read_text().splitlines())
    for (operation, id), ends in sender.ends.items():
        name = f"{operation}/{id}"
        if len(ends) != 1:
            outcome.problems.append(f"{name} has {len(ends)} final states: {ends}")
            continue
        for problem in _problems(operation, id, ends[0], steps, folder):
            outcome.problems.append(f"{name} {problem}: {ends[0]}")
        successful = ends[0]["status"] == "successful"
        (outcome.successful if successful else outcome.interrupted)[operation] += 1
        outcome.begun_again += max(0, steps[operation, id, "begun"] - 1)
    if restarts > sum(operation == "restart" for operation, _ in sender.sent):
        outcome.problems.append(f"{restarts} restarts")


def _problems(
    operation: str, id: str, end: dict[str, Any], steps: Counter[tuple[str, str, str]], folder: Path
) -> Iterator[str]:
    successful = end["status"] == "successful"
    begun, done = steps[operation, id, "begun"], steps[operation, id, "done"]
    if not successful and end.get("code") != "interrupted":
        yield "failed for another reason than a kill"
    if operation == "strike":
        if begun > 1 or done > 1:
            yield f"was begun {begun} times and done {done} times"
        if successful and done != 1:
            yield "is successful and was not done"
    if operation == "note":
        if successful and not (folder / NOTES / id).exists():
            yield "is successful and has had no effect"
        if begun > end.get("attempts", 1):
            yield f"was begun {begun} times, more often than it was interrupted"
