"""A device whose outbox is full, in a process of its own: drains it to a broker and says how that went.

python -m benchmarks.mqtt.outbox_child URL DATABASE     prints one line of JSON
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from agent.fleet.link.address import Address
from agent.fleet.link.link import Link
from agent.fleet.link.messages import Connected, Publication
from agent.fleet.link.settings import LinkSettings
from agent.fleet.telemetry.clock import Clock
from agent.fleet.telemetry.outbox import Outbox
from agent.fleet.telemetry.raised import RaisedAlarms
from agent.fleet.telemetry.sender import Sender, SenderOptions
from agent.fleet.telemetry.state import OutboxLimits
from agent.fleet.topics import Topics
from benchmarks.process import cpu_s, resident_bytes

LOOK_S = 0.005


async def main(url: str, path: Path) -> None:
    clock, topics = Clock.of_this_machine(), Topics("te", "bench")
    outbox = Outbox(path, clock=clock, limits=OutboxLimits(cap_bytes=256 * 1024 * 1024))
    await outbox.open()
    count = outbox.state.samples
    link = Link(
        LinkSettings(brokers=(Address.parse(url),), client_id="bench"),
        will=Publication(topic=topics.health, payload=b"down"),
        subscriptions=[],
    )
    sender = Sender(link, outbox, topics, SenderOptions(), clock=clock, raised=RaisedAlarms(topics, []))
    tasks = [asyncio.create_task(work) for work in (link.run(), outbox.run(), sender.run())]
    async for event in link.events():
        if isinstance(event, Connected):
            break
    await asyncio.sleep(0.5)
    pid = os.getpid()
    before, cpu_before = resident_bytes(pid), cpu_s(pid)
    started, peak, lag_s = time.perf_counter(), before, 0.0
    sender.connected()
    while sender.sent_samples < count:
        asked = time.perf_counter()
        await asyncio.sleep(LOOK_S)
        lag_s = max(lag_s, time.perf_counter() - asked - LOOK_S)
        peak = max(peak, resident_bytes(pid))
    wall_s = time.perf_counter() - started
    print(
        json.dumps(
            {
                "samples": count,
                "messages": sender.sent_messages,
                "seconds": wall_s,
                "cpu_s": cpu_s(pid) - cpu_before,
                "resident_bytes": before,
                "grown_bytes": peak - before,
                "loop_lag_s": lag_s,
            }
        )
    )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await outbox.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
