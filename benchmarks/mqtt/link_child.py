"""Agents as far as the link goes, in one process: `python -m benchmarks.mqtt.link_child URL FIRST COUNT`.

Each is a real `Link` with its thread, subscribes to its commands and announces itself after each connection. Lines on
standard output: `ready` when all are connected; after a line on standard input, when all of them have announced
themselves once more, one JSON object: times of the connections (Unix seconds) and failed attempts. With COUNT 0 it is
the daemon without a link, to compare with; with `idle` as a fourth argument it only stays connected.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time

from agent.errors import NotConnectedError
from agent.fleet.link.address import Address
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import Topics


class Agent:
    def __init__(self, url: str, device: str) -> None:
        self.topics = Topics("te", device)
        will = Publication(topic=self.topics.health, payload=b"down", retain=True)
        settings = LinkSettings(brokers=(Address.parse(url),), client_id=f"edge-agent-{device}")
        self.link = Link(settings, will=will, subscriptions=[self.topics.commands_filter])
        self.announced: list[float] = []
        self.connected: list[float] = []
        self.changed = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.link.run())
            async for event in self.link.events():
                if isinstance(event, Connected):
                    self.connected.append(time.time())
                    group.create_task(self._announce(len(self.connected)))
                elif isinstance(event, Received):
                    self.link.acknowledge(event)

    async def _announce(self, times: int) -> None:
        try:
            await self.link.publish(Publication(topic=self.topics.health, payload=f"up {times}".encode(), retain=True))
        except NotConnectedError:
            return  # it is announced after the next connection
        self.announced.append(time.time())
        self.changed.set()

    async def until_announced(self, times: int) -> None:
        while len(self.announced) < times:
            self.changed.clear()
            await self.changed.wait()


async def main(url: str, first: int, count: int, *, idle: bool) -> None:
    agents = [Agent(url, f"agent-{number}") for number in range(first, first + count)]
    async with asyncio.TaskGroup() as group:
        for agent in agents:
            group.create_task(agent.run())
        await asyncio.gather(*(agent.until_announced(1) for agent in agents))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if not idle:
            await asyncio.gather(*(agent.until_announced(2) for agent in agents))
            found = {
                "connected": [agent.connected[1] for agent in agents],
                "announced": [agent.announced[1] for agent in agents],
                "failed": sum(agent.link.state.attempts_failed for agent in agents),
            }
            print(json.dumps(found), flush=True)
            await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(agent.link.close() for agent in agents))


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), idle=sys.argv[4:] == ["idle"]))
