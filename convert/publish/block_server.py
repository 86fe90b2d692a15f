"""Answers devices that reach nothing but the broker: they ask for blocks of a repository's files, it publishes them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from agent.chunks.blocks import BlockRefusal, decode_request, encode_refusal
from agent.errors import EdgeAgentError, NotConnectedError, NotFoundError, PublishRefusedError, RequestError
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Disconnected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.remote.line import connecting, messages
from agent.fleet.topics import FleetTopics, Topics
from convert.publish.shelf import Shelf
from convert.publish.waiting_line import WaitingLine

SENDERS: Final = 4
"""Blocks on their way to the broker at the same time: enough that the line is never idle."""
BUSY_S: Final = 2.0

_REQUEST: Final = "blk/req"
_log = logging.getLogger("convert.publish.blocks")


@dataclass
class Served:
    """Since the start. `waiting` blocks are asked for and not sent."""

    blocks: int = 0
    bytes: int = 0
    refused: int = 0
    devices: int = 0
    waiting: int = 0


class BlockServer:
    """`run` answers until it is cancelled; `ready` is set once it listens. The devices are those below the root of
    `topics`."""

    def __init__(self, shelf: Shelf, settings: LinkSettings, topics: FleetTopics) -> None:
        self._shelf = shelf
        self._settings = settings
        self._topics = topics
        self.ready = asyncio.Event()
        self._line = WaitingLine()
        self._devices: set[str] = set()
        self._some = asyncio.Event()
        self._served = Served()

    @property
    def served(self) -> Served:
        self._served.devices = len(self._devices)
        self._served.waiting = len(self._line)
        return self._served

    async def run(self) -> None:
        """Raises `NotConnectedError` where the first attempt to connect fails, `ForbiddenError` where the broker does
        not let it read requests."""
        async with connecting(self._settings, [self._topics.filter(_REQUEST)]) as link:
            senders = [asyncio.create_task(self._send(link), name=f"sender {number}") for number in range(SENDERS)]
            try:
                async for event in messages(link):
                    match event:
                        case Connected():
                            self.ready.set()
                            _log.info("connected to %s", event.broker)
                        case Disconnected():
                            _log.warning("disconnected: %s", event.reason)
                        case Received():
                            await self._take(link, event)
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.gather(*senders, return_exceptions=True)

    async def _take(self, link: Link, received: Received) -> None:
        parsed = self._topics.parse(received.topic)
        if parsed is None:
            return
        device = parsed[0]
        try:
            request = decode_request(received.payload)
        except RequestError as error:
            _log.warning("%s: %s", device.device, error)
            return
        self._devices.add(device.device)
        if self._line.add(device.device, request):
            self._some.set()
        else:
            reason = "It has more requests than it can answer."
            await self._refuse(link, device, request.file, BlockRefusal(code="busy", reason=reason, wait_s=BUSY_S))

    async def _send(self, link: Link) -> None:
        while True:
            asked = self._line.take()
            if asked is None:
                self._some.clear()
                await self._some.wait()
                continue
            device = Topics(self._topics.root, asked.device)
            try:
                data = self._shelf.read(asked.file, asked.block.offset, asked.block.bytes)
            except (NotFoundError, OSError) as error:
                self._line.drop(asked.device, asked.file)
                await self._refuse(link, device, asked.file, _refusal(error))
                continue
            topic = f"{device.service}/blk/{asked.file}/{asked.block.number}"
            if await _published(link, Publication(topic=topic, payload=data, qos=0)):
                self._served.blocks += 1
                self._served.bytes += len(data)

    async def _refuse(self, link: Link, device: Topics, file: str, refusal: BlockRefusal) -> None:
        self._served.refused += 1
        topic = f"{device.service}/blk/{file}/refused"
        await _published(link, Publication(topic=topic, payload=encode_refusal(refusal), expiry_s=60))


def _refusal(error: Exception) -> BlockRefusal:
    if isinstance(error, NotFoundError):
        return BlockRefusal(code="not_found", reason=error.message)
    _log.error("a file of the repository cannot be read: %s", error)
    return BlockRefusal(code="busy", reason="The file cannot be read now.", wait_s=BUSY_S)


async def _published(link: Link, publication: Publication) -> bool:
    """False for what could not be sent: the device asks again."""
    with suppress(NotConnectedError):
        try:
            await link.publish(publication)
        except PublishRefusedError as error:
            _log.warning("%s", error)
        except EdgeAgentError as error:
            if isinstance(error, NotConnectedError):
                raise
            _log.error("%s", error)
        else:
            return True
    return False
