"""`edge-agent fleet send`: one command for one device, for some or for all."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.commands.call import Call
from agent.commands.fleet_answers import AnswerView
from agent.commands.fleet_broker import Broker, broker_of, wait_for
from agent.commands.fleet_list import add_conditions, conditions, known_devices, positive
from agent.errors import NotFoundError, RequestError
from agent.fleet.remote.errand import Errand
from agent.fleet.remote.order import Order
from agent.fleet.topics import check_name

TIMEOUT_S: Final = 60.0
LEFT_S: Final = 86_400.0
ARGS_BYTES: Final = 64 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", metavar="OP", help="what to do, such as generate or diagnose (docs/mqtt.md)")
    parser.add_argument(
        "args", metavar="JSON", nargs="?", default="{}", help="its arguments: an object, @FILE, or - for standard input"
    )
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("--to", metavar="DEVICE", action="append", help="a device by its name; may be repeated")
    whom.add_argument("--all", action="store_true", help="every device that is known to the broker")
    add_conditions(parser)
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=positive,
        default=TIMEOUT_S,
        help=f"how long answers are waited for; default: {TIMEOUT_S:g}",
    )
    parser.add_argument(
        "--expires",
        metavar="S",
        type=positive,
        help="a device that has not begun after this time does not begin any more; default: as --timeout,"
        " or a day with --leave",
    )
    parser.add_argument(
        "--leave",
        action="store_true",
        help="leave the command with the broker for devices that do not answer; otherwise it is cleared, which also"
        " cancels it where it has begun",
    )
    parser.add_argument("--stream", action="store_true", help="show pieces of the answers as they are made")


def run(call: Call) -> int:
    options = call.options
    args = read_args(options.args)
    broker = broker_of(call)
    devices, down = _devices(call, broker)
    order = Order(
        operation=options.operation,
        args=args,
        devices=tuple(devices),
        timeout_s=options.timeout,
        expires_s=options.expires or (LEFT_S if options.leave else options.timeout),
        leave=options.leave,
        stream=options.stream,
    )
    errand = Errand(broker.settings, broker.fleet, order)
    view = AnswerView(order, errand.answers, down, json=options.json)
    try:
        wait_for(_carry_out(errand, view))
    except KeyboardInterrupt:
        errand.answers.give_up("not waited for any longer")
        view.finish(errand.uncleared)
        raise
    view.finish(errand.uncleared)
    return 0 if view.all_successful else 1


async def _carry_out(errand: Errand, view: AnswerView) -> None:
    async with errand:
        async for event in errand.events():
            view.show(event)


def read_args(given: str) -> dict[str, Any]:
    """Raises `RequestError`."""
    source = "the arguments"
    try:
        if given == "-":
            source = "standard input"
            data = sys.stdin.buffer.read(ARGS_BYTES + 1)
        elif given.startswith("@"):
            source = given[1:]
            with Path(source).open("rb") as file:
                data = file.read(ARGS_BYTES + 1)
        else:
            data = given.encode(errors="surrogateescape")
    except OSError as error:
        raise RequestError(f"{source} cannot be read: {error.strerror or error}.") from None
    if len(data) > ARGS_BYTES:
        raise RequestError(f"{source}: more than {ARGS_BYTES:,} bytes, which no broker takes.")
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RequestError(f"{source}: not JSON: {error}.", hint='It is an object, like {"prompt": "Hello"}.') from None
    if not isinstance(found, dict):
        raise RequestError(f"{source}: expected a JSON object.", hint='It is an object, like {"prompt": "Hello"}.')
    return found


def _devices(call: Call, broker: Broker) -> tuple[list[str], list[str]]:
    """Whom to send it to, and those that are left out because they are known to be down.

    Who is named is sent it in any case. Raises `NotFoundError` where nobody is left.
    """
    options = call.options
    wanted = conditions(options.where)
    named = list(dict.fromkeys(check_name(name, "device") for name in options.to or []))
    if named and not wanted:
        return named, []
    roster = known_devices(broker, options.wait)
    found = [device for device in roster.devices() if device.fits(wanted) and (not named or device.name in named)]
    if not found:
        raise NotFoundError("No such device is known to this broker.", hint="edge-agent fleet ls shows which are.")
    if named or options.leave:
        return [device.name for device in found], []
    down = [device.name for device in found if device.up is False]
    return [device.name for device in found if device.up is not False], down
