"""The broker as this machine's `[mqtt]` names it, and a command that waits for it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple, TypeVar

from agent.commands.call import Call
from agent.fleet.link.settings import LinkSettings
from agent.fleet.topics import FleetTopics
from agent.mqtt import link_settings, topics_of

AGAIN_S: Final = 0.5

T = TypeVar("T")


class Broker(NamedTuple):
    settings: LinkSettings
    fleet: FleetTopics


def broker_of(call: Call) -> Broker:
    """Raises `ConfigError`."""
    mqtt = call.settings.mqtt
    topics = topics_of(mqtt, "fleet")
    return Broker(link_settings(mqtt, topics), FleetTopics(topics.root))


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Its result. Ctrl-C, SIGTERM and SIGHUP let it clean up, and raise `KeyboardInterrupt`; once more, a moment
    later, they break the cleaning off."""

    async def main() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        first_at: float | None = None

        def stop() -> None:
            nonlocal first_at
            if first_at is None:
                first_at = loop.time()
                task.cancel()
            elif loop.time() - first_at >= AGAIN_S:  # shells and supervisors send the same one twice at once
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        return await task

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
