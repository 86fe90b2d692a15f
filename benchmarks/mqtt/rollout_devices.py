"""Simulated devices that follow their desired state as real ones do: with the same table of states, in a hurry.

python -m benchmarks.mqtt.rollout_devices PORT COUNT [BEHAVIOR=COUNT ...]

Which ones behave badly is drawn by chance, with a fixed seed. Prints `ready` when all are connected and announced, and
ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.errors import RequestError
from agent.updates.desired import LATEST, Desired, read_desired
from agent.updates.states import Move, State, may, moved
from benchmarks.mqtt.responders import Responder, responding

MODEL = "qwen"
OLD, NEW = "1.0.0", "2.0.0"
GOOD = (Move.RESOLVE, Move.FETCH, Move.ADOPT, Move.PASS, Move.BEGIN, Move.SWITCH, Move.PROVE)
PATHS: Mapping[str, tuple[Move, ...]] = {
    "good": GOOD,
    "rejecting": (*GOOD[:3], Move.REFUSE, Move.CLEAN),
    "reverting": (*GOOD[:6], Move.CONDEMN, Move.REVERT, Move.CLEAN),
    "failing": (Move.RESOLVE, Move.GIVE_UP),
    "waiting": (Move.RESOLVE,),
    "deaf": (),
}
"""What becomes of the new version on each kind of device. The old one is good for all."""
REASONS = {"rejecting": "It is too slow.", "reverting": "5 of 50 requests failed.", "failing": "no answer"}


@dataclass
class UpdatingDevice(Responder):
    """`step_s` is how long each state takes. `active` is what it serves, `history` what it has served."""

    behavior: str = "good"
    step_s: float = 0.02
    active: str = OLD
    history: list[str] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    """Desired states, as they came."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._desired = Desired()
        self._update: dict[str, Any] = {}
        self._state = State.COMMITTED
        self._previous = self.active
        self._rejected: dict[str, str] = {}
        self._work: asyncio.Task[None] | None = None

    async def connect(self, port: int) -> None:
        await super().connect(port)
        self.report()
        topic = f"{self.service}/twin/desired".encode()
        self._send(0x82, self._next_id() + len(topic).to_bytes(2) + topic + b"\x01")
        await self.said()

    def report(self) -> None:
        entry: dict[str, Any] = {"version": self.active, "state": "ready", "task": "generate"}
        if self._update:
            entry["update"] = self._update
        if self._rejected:
            entry["rejected"] = self._rejected
        body: dict[str, Any] = {"models": {self.model: entry}}
        if self._desired.rev:
            body["rev"] = self._desired.rev
        self.say("/twin/model", body)

    def _told(self, below: str, payload: bytes) -> None:
        if below != "/twin/desired" or self.behavior == "deaf":
            return
        self.told.append(json.loads(payload))
        try:
            self._desired = read_desired(payload)
        except RequestError:
            return
        target = self._desired.models.get(self.model)
        if target is not None:
            self._ask(target.version or LATEST, again=target.terms.again)
        self.report()

    def _ask(self, version: str, *, again: bool) -> None:
        if self._work is not None and not self._work.done():
            if self._update["target"] == version:
                self._update["rev"] = self._desired.rev
                return
            if not may(self._state, Move.WITHDRAW) or (self._state is State.PROBATION and version != self._previous):
                return
            self._work.cancel()
            if self._state.in_service:
                self.active = self._previous
        if again:
            self._rejected.pop(version, None)
        self._update = {"target": version, "version": version, "rev": self._desired.rev}
        self._state = State.WANTED
        self._work = asyncio.create_task(self._go(version))
        self._tasks.add(self._work)

    async def _go(self, version: str) -> None:
        if version == self.active:
            path: tuple[Move, ...] = (Move.CURRENT,)
        elif version in self._rejected:
            path = (Move.KNOWN_BAD,)
        else:
            path = PATHS[self.behavior] if version == NEW else GOOD
        self._update["state"] = self._state.value
        for move in path:
            await asyncio.sleep(self.step_s)
            self._state = moved(self._state, move)
            self._enter(move, version)
            self.report()

    def _enter(self, move: Move, version: str) -> None:
        self._update["state"] = self._state.value
        if self._state is State.PROBATION:
            self._previous, self.active = self.active, version
            self.history.append(version)
        elif move is Move.REVERT:
            self.active = self._previous
            self.history.append(self.active)
        elif self._state is State.REJECTED:
            self._rejected.setdefault(version, REASONS.get(self.behavior, ""))
        if self._state in (State.REVERTING, State.REJECTING, State.REJECTED, State.FAILED):
            self._update["reason"] = REASONS.get(self.behavior, "rejected before")


@contextlib.asynccontextmanager
async def updating(port: int, devices: Sequence[UpdatingDevice]) -> AsyncIterator[Sequence[UpdatingDevice]]:
    """All connected."""
    async with responding(port, devices):
        yield devices


def made(count: int, behaviors: Mapping[str, int], *, step_s: float = 0.02) -> list[UpdatingDevice]:
    chosen = [behavior for behavior, many in behaviors.items() for _ in range(many)]
    chosen += ["good"] * (count - len(chosen))
    random.Random(8).shuffle(chosen)
    return [
        UpdatingDevice(f"device-{number}", behavior, model=MODEL, step_s=step_s)
        for number, behavior in enumerate(chosen)
    ]


async def main(port: int, count: int, behaviors: Mapping[str, int]) -> None:
    async with updating(port, made(count, behaviors, step_s=0.1)):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), int(sys.argv[2]), {k: int(v) for k, _, v in (a.partition("=") for a in sys.argv[3:])})
    )
