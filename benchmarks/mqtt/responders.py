"""Simulated devices: one MQTT connection each, answering commands as devices do, and as they should not.

python -m benchmarks.mqtt.responders PORT COUNT [BEHAVIOR=COUNT ...]

The first ones behave as told, in this order, the rest plainly; device number i is called `device-i`. Prints `ready`
when all are connected and announced, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONNECTING = 100
SLOW_S = 4.0
PIECE_BYTES = 50_000
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e"


@dataclass
class Responder:
    """`behavior` is one of `BEHAVIORS`. `cleared` are ids of commands whose topic was cleared."""

    device: str
    behavior: str = "plain"
    model: str = "qwen"
    active: str = "7"
    """The version that it says it serves."""
    commands: list[dict[str, Any]] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.service = f"te/device/{self.device}/service/edge-agent"
        self._packet_id = 0
        self._writer: asyncio.StreamWriter
        self._reader: asyncio.StreamReader
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, port: int) -> None:
        """Returns when the broker has taken the subscription, after which the device is announced."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        will = _text(f"{self.service}/status/health") + _text(json.dumps({"status": "down"}))
        head = _text("MQTT") + bytes([4, 0x02 | 0x04 | 0x08 | 0x20]) + struct.pack("!H", 600)
        self._send(0x10, head + _text(self.device) + will)
        assert (await self._packet())[0] == 0x20
        filters = [f"{self.service}/cmd/+/+", f"{self.service}/ack"]
        self._send(0x82, self._next_id() + b"".join(_text(one) + b"\x01" for one in filters))
        assert (await self._packet())[0] == 0x90
        self.say("", {"@type": "service", "name": "edge-agent", "version": "1.2.3", "board": "Raspberry Pi 5"})
        self.say(
            "/twin/model", {"models": {self.model: {"version": self.active, "state": "ready", "task": "generate"}}}
        )
        self.say("/status/health", {"status": "up", "pid": 1, "boot_id": "b", "time": time.time()})
        await self.said()
        task = asyncio.create_task(self._run())
        self._tasks.add(task)

    async def close(self, *, politely: bool = False) -> None:
        """Without a word, so that the broker publishes the last will."""
        for task in self._tasks:
            task.cancel()
        if politely:
            self._send(0xE0, b"")
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def say(self, below: str, body: Any, *, retain: bool = True, qos: int = 1) -> None:
        """`body` as JSON below P, or as it is where it is bytes."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        packet_id = self._next_id() if qos else b""
        self._send(0x30 | qos << 1 | retain, _text(self.service + below) + packet_id + payload)

    async def said(self) -> None:
        """Returns when what was said is with the system."""
        await self._writer.drain()

    async def _run(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                kind, body = await self._packet()
                if kind & 0xF0 == 0x30:
                    self._received(kind, body)

    def _received(self, kind: int, body: bytes) -> None:
        end = 2 + struct.unpack("!H", body[:2])[0]
        topic = body[2:end].decode()
        if kind & 0x06:
            self._send(0x40, body[end : end + 2])
            end += 2
        payload = body[end:]
        below = topic.removeprefix(self.service)
        if below == "/ack":
            self.acknowledged.append(json.loads(payload))
        elif not payload:
            self.cleared.append(topic.rpartition("/")[2])
        else:
            self._told(below, payload)
        self.changed.set()

    def _told(self, below: str, payload: bytes) -> None:
        with contextlib.suppress(ValueError, RecursionError):  # its own words come back, also the senseless ones
            command = json.loads(payload)
            if isinstance(command, dict) and command.get("status") == "init":
                self.commands.append(command)
                task = asyncio.create_task(BEHAVIORS[self.behavior](self, below, command))
                self._tasks.add(task)

    async def _packet(self) -> tuple[int, bytes]:
        kind = (await self._reader.readexactly(1))[0]
        size = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return kind, await self._reader.readexactly(size)

    def _send(self, kind: int, body: bytes) -> None:
        size, head = len(body), bytearray([kind])
        while True:
            size, byte = size >> 7, size & 0x7F
            head.append(byte | (0x80 if size else 0))
            if not size:
                break
        self._writer.write(bytes(head) + body)

    def _next_id(self) -> bytes:
        self._packet_id = self._packet_id % 65_535 + 1
        return struct.pack("!H", self._packet_id)


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text.encode())) + text.encode()


def _successful(device: Responder) -> dict[str, Any]:
    return {"status": "successful", "result": {"text": f"hello from {device.device}"}}


async def _plain(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    device.say(topic, {**command, "status": "executing"})
    device.say(topic, {**command, **_successful(device)})


async def _failing(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    device.say(topic, {"status": "executing"})
    device.say(topic, {"status": "failed", "reason": "No model is loaded.", "code": "model_not_found"})


async def _slow(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    device.say(topic, {"status": "executing"})
    await asyncio.sleep(SLOW_S)
    device.say(topic, _successful(device))


async def _silent(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    """As one that has just lost its power."""


async def _stuck(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    device.say(topic, {"status": "executing"})


async def _twice(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    for _ in range(2):
        await _plain(device, topic, command)
    device.say(topic, {"status": "failed", "reason": "second thoughts"})


async def _belated(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    await _plain(device, topic, command)
    await asyncio.sleep(0.3)
    device.say(topic, {"status": "failed", "reason": "second thoughts"})


async def _garbage(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    for payload in (b"\xff\xfe", b"[" * 100_000, b'{"status": 7}', b"null", b'{"status": "successful"'):
        device.say(topic, payload)


async def _recovering(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    await _garbage(device, topic, command)
    device.say(topic, _successful(device))


async def _hostile(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    for other in ("device-0", "device-1"):  # in the name of others, on topics of its own
        device.say(topic.replace("/cmd/", f"/{other}/cmd/"), {"status": "failed", "reason": "forged"})
    device.say(topic, {"status": "successful", "result": ESCAPES, "reason": ESCAPES, "status2": ESCAPES})


async def _chunked(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    result = json.dumps({"text": "long " * 40_000}).encode()
    pieces = [result[at : at + PIECE_BYTES] for at in range(0, len(result), PIECE_BYTES)]
    for index in reversed(range(len(pieces))):
        device.say(f"{topic}/result/{index}", pieces[index])
    digest = hashlib.sha256(result).hexdigest()
    if device.behavior == "torn":
        digest = "0" * 64
    manifest = {"count": len(pieces), "bytes": len(result), "sha256": digest}
    device.say(topic, {"status": "successful", "result_pieces": manifest})
    while command_id(topic) not in device.cleared:  # as real ones do when the command is cleared
        device.changed.clear()
        await device.changed.wait()
    for index in range(len(pieces)):
        device.say(f"{topic}/result/{index}", b"")


async def _streaming(device: Responder, topic: str, command: Mapping[str, Any]) -> None:
    device.say(topic, {"status": "executing"})
    for number, word in enumerate(["Once ", "upon\n", "a time\x1b[2J"]):
        device.say(f"{topic}/stream", {"n": number, "text": word}, retain=False, qos=0)
    device.say(f"{topic}/stream", b"\xff", retain=False, qos=0)
    await asyncio.sleep(0.1)
    device.say(topic, _successful(device))


def command_id(topic: str) -> str:
    return topic.rpartition("/")[2]


BEHAVIORS = {
    "plain": _plain,
    "failing": _failing,
    "slow": _slow,
    "silent": _silent,
    "stuck": _stuck,
    "twice": _twice,
    "belated": _belated,
    "garbage": _garbage,
    "recovering": _recovering,
    "hostile": _hostile,
    "chunked": _chunked,
    "torn": _chunked,
    "streaming": _streaming,
}


@contextlib.asynccontextmanager
async def responding(port: int, devices: Sequence[Responder]) -> AsyncIterator[Sequence[Responder]]:
    """All connected."""
    try:
        for start in range(0, len(devices), CONNECTING):
            await asyncio.gather(*(device.connect(port) for device in devices[start : start + CONNECTING]))
        yield devices
    finally:
        await asyncio.gather(*(device.close() for device in devices), return_exceptions=True)


def made(count: int, behaviors: Mapping[str, int]) -> list[Responder]:
    chosen = [behavior for behavior, many in behaviors.items() for _ in range(many)]
    chosen += ["plain"] * (count - len(chosen))
    return [Responder(f"device-{number}", behavior) for number, behavior in enumerate(chosen)]


def start_devices(port: int, count: int, behaviors: Mapping[str, int], *, module: str = "") -> subprocess.Popen[str]:
    """Those of this module, or of another that is called alike, in a process of their own: all are connected, and they
    go when its standard input is closed. Raises `RuntimeError` where it died."""
    words = [f"{behavior}={many}" for behavior, many in behaviors.items()]
    command = [sys.executable, "-m", module or "benchmarks.mqtt.responders", str(port), str(count), *words]
    root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    assert child.stdout is not None
    if child.stdout.readline().strip() != "ready":
        raise RuntimeError(f"the devices' process died with status {child.wait()}")
    return child


async def main(port: int, count: int, behaviors: Mapping[str, int]) -> None:
    async with responding(port, made(count, behaviors)):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), int(sys.argv[2]), {k: int(v) for k, _, v in (a.partition("=") for a in sys.argv[3:])})
    )
