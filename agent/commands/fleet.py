"""`edge-agent fleet`: many devices from one place, over the broker that they are connected to."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from agent.commands import fleet_list, fleet_rollout, fleet_send, fleet_watch
from agent.commands.call import Call
from agent.settings import flags as every_flag

_MQTT = ("url", "root", "username", "password_file", "ca_file", "cert_file", "key_file", "alpn", "protocol")
"""Settings of `[mqtt]` with a flag here; all of them can stand in agent.toml and in variables."""


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, help: str, does: Callable[[Call], int]) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help, description=help, parents=[common], allow_abbrev=False)
        added.set_defaults(does=does)
        added.add_argument("--json", action="store_true", help="print JSON, for scripts")
        return added

    listing = action("ls", "which devices there are, which of them are up, and what they run", fleet_list.run)
    fleet_list.add_arguments(listing)
    send = action("send", "give a command to one device, to some or to all, and collect the answers", fleet_send.run)
    fleet_send.add_arguments(send)
    watch = action("watch", "show health, alarms, events, telemetry and commands as they happen", fleet_watch.run)
    fleet_watch.add_arguments(watch)
    rollout = action("rollout", "give all devices a new version of a model, stage by stage", fleet_rollout.run)
    fleet_rollout.add_arguments(rollout)
    for one in (listing, send, watch, rollout):
        _add_broker(one)


def run(call: Call) -> int:
    logging.getLogger("agent.fleet").setLevel(logging.CRITICAL)  # what the link logs is said in other words here
    does: Callable[[Call], int] = call.options.does
    return does(call)


def _add_broker(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("broker")
    known = every_flag()
    for name in _MQTT:
        declaration = known[f"mqtt.{name}"]
        group.add_argument(
            f"--{declaration.flag}",
            dest=f"set_mqtt.{name}",
            metavar="|".join(declaration.choices) or "TEXT",
            action="append" if declaration.many else "store",
            default=argparse.SUPPRESS,
            help=f"{declaration.doc.rstrip('.')} ({declaration.environment})".replace("%", "%%"),
        )
