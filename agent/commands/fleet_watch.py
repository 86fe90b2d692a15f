"""`edge-agent fleet watch`: what happens on the devices, as it happens."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from agent.commands.call import Call
from agent.commands.fleet_broker import Broker, broker_of, wait_for
from agent.commands.fleet_lines import lines_of
from agent.commands.printable import json_text, printable
from agent.fleet.link.messages import Connected, Disconnected, Received
from agent.fleet.remote.acknowledging import Acknowledging
from agent.fleet.remote.consumption import Consumption
from agent.fleet.remote.line import connecting, for_remote, messages
from agent.fleet.remote.novelty import Novelty
from agent.fleet.remote.observation import BELOW, Kind, Observation, observe
from agent.fleet.remote.roster import Roster
from agent.fleet.topics import Topics, check_name

SETTLED_S: Final = 1.0
"""After so long without a message the present state of all devices has come."""
_STATES: Final = (Kind.REGISTRATION, Kind.HEALTH, Kind.MODELS, Kind.COMMAND)
"""What is told only when it changes after that."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE", nargs="*", help="only these; by default all")
    parser.add_argument(
        "--acknowledge",
        action="store_true",
        help="tell the devices that the telemetry shown here is stored, so that they may forget it; for whoever"
        " writes the output to a file (see docs/mqtt.md)",
    )


def run(call: Call) -> int:
    broker = broker_of(call)
    devices = [check_name(name, "device") for name in call.options.device]
    watch = _Watch(broker, devices, json=call.options.json, acknowledge=call.options.acknowledge)
    try:
        wait_for(watch.run())
    except KeyboardInterrupt:
        return 0
    return 1


class _Watch:
    def __init__(self, broker: Broker, devices: list[str], *, json: bool, acknowledge: bool) -> None:
        self._broker = broker
        self._fleet = broker.fleet
        self._names = devices
        self._write: Callable[[Observation, dict[str, Any]], None] = self._write_json if json else self._write_lines
        self._acknowledges = acknowledge
        self._consumption = Consumption()
        self._novelty = Novelty()
        self._roster = Roster(broker.fleet)
        self._settled = json
        self._last_at = 0.0

    async def run(self) -> None:
        """Until it is cancelled. Raises `NotConnectedError`, `ForbiddenError`."""
        settings = for_remote(self._broker.settings)
        async with connecting(settings, self._filters()) as link:
            acknowledging = Acknowledging(link)
            tasks = [asyncio.create_task(acknowledging.run()), asyncio.create_task(self._settle())]
            try:
                async for event in messages(link):
                    if isinstance(event, Received):
                        self._take(event, acknowledging)
                    elif isinstance(event, Connected):
                        self._last_at = time.monotonic()
                        print(f"Connected to {event.broker}. Ctrl-C stops.", file=sys.stderr, flush=True)
                    elif isinstance(event, Disconnected):
                        text = f"MQTT: {event.reason}; the next attempt is in {event.retry_s:.1f} s"
                        print(printable(text), file=sys.stderr, flush=True)
            finally:
                for task in tasks:
                    task.cancel()

    def _filters(self) -> list[str]:
        if not self._names:
            return [self._fleet.filter(below) for below in BELOW]
        services = [Topics(self._fleet.root, name).service for name in self._names]
        return [f"{service}/{below}" if below else service for below in BELOW for service in services]

    async def _settle(self) -> None:
        while not self._settled:
            await asyncio.sleep(SETTLED_S / 4)
            self._settled = bool(self._last_at) and time.monotonic() - self._last_at >= SETTLED_S
        devices = self._roster.devices()
        if devices:
            up = sum(device.up is True for device in devices)
            print(f"{len(devices):,} devices, {up:,} of them up.", file=sys.stderr, flush=True)

    def _take(self, received: Received, acknowledging: Acknowledging) -> None:
        self._last_at = time.monotonic()
        oversized_bytes = received.oversized_bytes
        seen = observe(self._fleet, received.topic, received.payload, oversized_bytes=oversized_bytes)
        if seen is None:
            return
        self._roster.feed(received.topic, received.payload, oversized_bytes=oversized_bytes)
        if seen.kind not in (Kind.MEASUREMENT, Kind.EVENT):
            new = self._novelty.feed(seen)
            if new and (self._settled or seen.kind not in _STATES):
                self._write(seen, {})
            return
        if seen.garbled or seen.cleared:
            self._write(seen, {})
            return
        taken = self._consumption.take(seen.device, seen.kind.value, seen.type, seen.data)
        if taken.samples or taken.lost:
            more = {"seq": taken.first, "lost": taken.lost, "samples": taken.samples}
            self._write(seen, {name: value for name, value in more.items() if value not in (None, 0)})
        if self._acknowledges and taken.acknowledge is not None:
            acknowledging.put(Topics(self._fleet.root, seen.device), taken.acknowledge)

    def _write_json(self, seen: Observation, more: dict[str, Any]) -> None:
        found = seen.as_json()
        if more:
            del found["data"]
        print(json_text({"time": round(time.time(), 3), **found, **more}), flush=True)

    def _write_lines(self, seen: Observation, more: dict[str, Any]) -> None:
        now = time.time()
        for line in lines_of(seen, more.get("samples", ()), more.get("lost", 0), self._roster.device(seen.device), now):
            print(line)
        sys.stdout.flush()
