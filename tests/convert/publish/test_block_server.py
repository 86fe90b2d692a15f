"""A device that reaches only a broker gets what it asks for, in blocks, and hears of what is not there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agent.chunks.blocks import BLOCK_BYTES, Block, BlockRequest, decode_refusal, encode_request
from agent.errors import NotConnectedError
from agent.fleet.link.address import Address
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.line import connecting, for_remote, messages
from agent.fleet.topics import FleetTopics, Topics
from convert.publish.block_server import BlockServer
from convert.publish.shelf import Shelf
from tests.convert.publish.published import MODEL, Repository
from tests.convert.publish.test_shelf import key
from tests.fleet.broker import Broker, free_port

DATA = MODEL + b"1"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", persistent=False) as started:
        yield started


def settings(url: str) -> LinkSettings:
    return for_remote(LinkSettings(brokers=(Address.parse(url),), client_id="x"))


@contextlib.asynccontextmanager
async def serving(repository: Repository, broker: Broker) -> AsyncIterator[BlockServer]:
    server = BlockServer(Shelf(repository.path), settings(broker.url()), FleetTopics("te"))
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(20):
            await server.ready.wait()
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class DeviceLine:
    """A device on the broker: `ask`, then `answers` until as many have come as were asked for."""

    def __init__(self, name: str, link: Link, events: AsyncIterator[object]) -> None:
        self.topics = Topics("te", name)
        self._link = link
        self._events = events

    async def ask(self, payload: bytes | BlockRequest) -> None:
        data = payload if isinstance(payload, bytes) else encode_request(payload)
        await self._link.publish(Publication(topic=self.topics.block_request, payload=data))

    async def answers(self, count: int) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        async for event in self._events:
            if isinstance(event, Received):
                found[event.topic.removeprefix(f"{self.topics.service}/blk/")] = event.payload
            if len(found) == count:
                return found
        raise AssertionError("the line ended")


@contextlib.asynccontextmanager
async def device(name: str, broker: Broker) -> AsyncIterator[DeviceLine]:
    topics = Topics("te", name)
    async with asyncio.timeout(20), connecting(settings(broker.url()), [f"{topics.service}/blk/+/+"]) as link:
        events = messages(link)
        async for event in events:
            if isinstance(event, Connected):
                break
        yield DeviceLine(name, link, events)


async def test_blocks_of_targets_and_metadata(repository: Repository, broker: Broker) -> None:
    repository.publish("1")
    async with serving(repository, broker) as server, device("pi-1", broker) as one:
        await one.ask(BlockRequest(file=key(DATA), blocks=(Block(5, 10, 1000), Block(9, BLOCK_BYTES, BLOCK_BYTES))))
        found = await one.answers(2)
        assert found == {f"{key(DATA)}/5": DATA[10:1010], f"{key(DATA)}/9": DATA[BLOCK_BYTES:]}
        await one.ask(BlockRequest(file="1.root.json", blocks=(Block(0, 0, BLOCK_BYTES),)))
        assert (await one.answers(1)) == {"1.root.json/0": repository.created.root.read_bytes()}
        async with asyncio.timeout(20):
            # A block may arrive before its sender hears that it is on its way.
            while server.served.blocks < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert server.served.devices == 1
        assert server.served.bytes == 1000 + len(DATA) - BLOCK_BYTES + repository.created.root.stat().st_size


async def test_what_is_not_there_is_refused_once(repository: Repository, broker: Broker) -> None:
    async with serving(repository, broker), device("pi-1", broker) as one:
        await one.ask(BlockRequest(file="2.root.json", blocks=tuple(Block(n, n * 10, 10) for n in range(50))))
        await one.ask(BlockRequest(file="1.root.json", blocks=(Block(0, 0, 1),)))
        found = await one.answers(2)
        assert decode_refusal(found["2.root.json/refused"]).code == "not_found"
        assert found["1.root.json/0"] == b"{"


async def test_nonsense_is_ignored_and_others_are_served(repository: Repository, broker: Broker) -> None:
    async with serving(repository, broker), device("pi-1", broker) as one, device("pi-2", broker) as two:
        for nonsense in (b"", b"[]", b"\xff" * 100, b'{"file":"../x","blocks":[[0,0,1]]}', b"{" * 40_000):
            await one.ask(nonsense)
        await two.ask(BlockRequest(file="1.root.json", blocks=(Block(0, 0, 1),)))
        assert (await two.answers(1)) == {"1.root.json/0": b"{"}


async def test_too_many_requests_are_told_to_wait(
    repository: Repository, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.publish.waiting_line.BLOCKS_PER_DEVICE", 1)
    async with serving(repository, broker), device("pi-1", broker) as one:
        await one.ask(BlockRequest(file="1.root.json", blocks=(Block(0, 0, 1), Block(1, 1, 1))))
        refusal = decode_refusal((await one.answers(1))["1.root.json/refused"])
        assert refusal.code == "busy"
        assert refusal.wait_s > 0


async def test_without_a_broker_it_ends_with_the_reason(repository: Repository) -> None:
    server = BlockServer(Shelf(repository.path), settings(f"mqtt://127.0.0.1:{free_port()}"), FleetTopics("te"))
    async with asyncio.timeout(20):
        with pytest.raises(NotConnectedError):
            await server.run()
