"""The desired state on its way to the updater, and blocks on theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from agent.errors import DiskFullError, NotConnectedError
from agent.fleet import desired as desired_module
from agent.fleet.blocks import Blocks
from agent.fleet.desired import Desired
from agent.fleet.link.messages import Publication, Received
from agent.fleet.topics import Topics

TOPICS = Topics("te", "kitchen")


class ScriptedUpdates:
    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.failures = 0
        self.gate: asyncio.Event | None = None

    async def desired(self, payload: bytes) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise DiskFullError("no room")
        self.taken.append(payload)

    def twin(self) -> Mapping[str, Any]:
        return {}


def message(payload: bytes) -> Received:
    return Received(topic=TOPICS.desired, payload=payload, qos=1, retain=True)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_is_acknowledged_once_it_is_on_the_disk() -> None:
    updates, acknowledged = ScriptedUpdates(), list[bytes]()
    updates.gate = asyncio.Event()
    desired = Desired(updates, lambda received: acknowledged.append(received.payload))
    task = asyncio.create_task(desired.run())
    desired.take(message(b"1"))
    await settled()
    assert acknowledged == []
    updates.gate.set()
    await settled()
    assert (updates.taken, acknowledged) == ([b"1"], [b"1"])
    desired.take(message(b"2"))
    await settled()
    assert (updates.taken, acknowledged) == ([b"1", b"2"], [b"1", b"2"])
    task.cancel()


async def test_only_the_last_one_counts_and_each_is_acknowledged() -> None:
    updates, acknowledged = ScriptedUpdates(), list[bytes]()
    updates.gate = asyncio.Event()
    desired = Desired(updates, lambda received: acknowledged.append(received.payload))
    task = asyncio.create_task(desired.run())
    desired.take(message(b"1"))
    await settled()
    desired.take(message(b"2"))
    desired.take(message(b"3"))
    updates.gate.set()
    await settled()
    assert updates.taken == [b"1", b"3"]
    assert set(acknowledged) == {b"1", b"2", b"3"}
    task.cancel()


async def test_what_cannot_be_written_down_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desired_module, "RETRY_S", 0.01)
    updates, acknowledged = ScriptedUpdates(), list[bytes]()
    updates.failures = 2
    desired = Desired(updates, lambda received: acknowledged.append(received.payload))
    task = asyncio.create_task(desired.run())
    desired.take(message(b"1"))
    async with asyncio.timeout(5):
        while not acknowledged:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert updates.taken == [b"1"]
    task.cancel()


class ScriptedLink:
    """As much of the link as blocks use."""

    def __init__(self) -> None:
        self.sent: list[Publication] = []

    async def publish(self, publication: Publication) -> None:
        self.sent.append(publication)


async def test_blocks_are_asked_for_and_come_to_who_waits() -> None:
    blocks, link, taken = Blocks(), ScriptedLink(), list[tuple[str, bytes]]()
    with pytest.raises(NotConnectedError):
        await blocks.ask(b"?")
    blocks.attach(link, TOPICS)  # type: ignore[arg-type]
    await blocks.ask(b"?")
    assert [(one.topic, one.payload, one.retain) for one in link.sent] == [(TOPICS.block_request, b"?", False)]
    topic = TOPICS.block("ab" * 32, 7)
    assert blocks.handle(topic, b"nobody waits")
    with blocks.answers(lambda rest, payload: taken.append((rest, payload))):
        assert blocks.handle(topic, b"bytes")
        assert not blocks.handle(TOPICS.desired, b"{}")
    blocks.handle(topic, b"late")
    assert taken == [("ab" * 32 + "/7", b"bytes")]
