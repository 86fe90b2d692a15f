"""`edge-agent fleet ls`: which devices there are."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from agent.commands.call import Call
from agent.commands.fleet_broker import Broker, broker_of, wait_for
from agent.commands.printable import json_text, printable
from agent.errors import ConfigError
from agent.fleet.remote.census import take_census
from agent.fleet.remote.look import QUIET_S
from agent.fleet.remote.roster import CONDITIONS, Device, Roster
from agent.terminal import duration, table

NAME_COLUMNS, CELL_COLUMNS, MODELS_COLUMNS = 40, 30, 60
HELD_BACK = (
    "The broker held something back: of some devices only a part came. It drops what it cannot send at once"
    " (mosquitto: max_queued_messages)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_conditions(parser)


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """Which devices; `send` takes these too."""
    parser.add_argument(
        "--where",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"only devices of which this is true ({', '.join(CONDITIONS)}; * stands for anything); may be repeated",
    )
    parser.add_argument(
        "--wait",
        metavar="S",
        type=positive,
        default=QUIET_S,
        help=f"how long the broker must be silent before its list of devices counts as complete; default: {QUIET_S:g}",
    )


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 31_536_000:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0 and at most a year, not {text}")
    return value


def conditions(given: list[str]) -> dict[str, str]:
    """Raises `ConfigError` for what is no KEY=VALUE."""
    wanted: dict[str, str] = {}
    for one in given:
        key, found, value = one.partition("=")
        if not found or key not in CONDITIONS or not value:
            raise ConfigError(f"--where {one[:80]}: expected KEY=VALUE, with one of {', '.join(CONDITIONS)}.")
        wanted[key] = value
    return wanted


def known_devices(broker: Broker, quiet_s: float) -> Roster:
    """Says on standard error where some may be missing. Raises `NotConnectedError`, `ForbiddenError`."""
    roster, whole = wait_for(take_census(broker.settings, broker.fleet, quiet_s=quiet_s))
    if not whole:
        print(HELD_BACK, file=sys.stderr)
    return roster


def run(call: Call) -> int:
    wanted = conditions(call.options.where)
    roster = known_devices(broker_of(call), call.options.wait)
    devices = [device for device in roster.devices() if device.fits(wanted)]
    if call.options.json:
        print(json_text([as_json(device) for device in devices], indent=2))
        return 0
    if not devices:
        print("No device is known to this broker.", file=sys.stderr)
        return 0
    now = time.time()
    heads = ("DEVICE", "STATE", "SINCE", "VERSION", "BOARD", "MODELS")
    print(table([_row(device, now) for device in devices], heads))
    up = sum(device.up is True for device in devices)
    print(f"{len(devices):,} {'device' if len(devices) == 1 else 'devices'}, {up:,} up.", file=sys.stderr)
    return 0


def as_json(device: Device) -> dict[str, Any]:
    models = [{"name": one.name, "version": one.version or None, "state": one.state or None} for one in device.models]
    return {
        "device": device.name,
        "state": device.state,
        "since": device.since,
        "version": device.version or None,
        "board": device.board or None,
        "models": models,
        "garbled": list(device.garbled),
    }


def served(device: Device) -> str:
    """Its models in a few words."""
    return ", ".join(
        f"{one.name} {one.version}" + (f" ({one.state})" if one.state not in ("", "ready") else "")
        for one in device.models
        if one.version
    )


def _row(device: Device, now: float) -> list[str]:
    since = "-" if device.since is None else duration(max(0.0, now - device.since))
    cells = [device.version or "-", device.board or "-", served(device) or "-"]
    widths = (CELL_COLUMNS, CELL_COLUMNS, MODELS_COLUMNS)
    shown = [printable(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [printable(device.name, NAME_COLUMNS), device.state, since, *shown]
