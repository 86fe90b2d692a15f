"""`edge-agent fleet rollout`: a new version for the fleet, stage by stage, stopped where too many fail."""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
from typing import Final

from agent.commands.call import Call
from agent.commands.fleet_broker import broker_of, wait_for
from agent.commands.fleet_list import positive
from agent.commands.rollout_view import JsonView, LineView, RolloutView, ScreenView
from agent.errors import ConfigError
from agent.fleet.remote.errand import Notice
from agent.fleet.remote.look import QUIET_S
from agent.fleet.remote.rolling import Look, Rolling
from agent.fleet.remote.rollout import Phase, Plan, Share
from agent.fleet.remote.standing import Standing
from agent.fleet.topics import device_name
from agent.store.names import is_safe_name, is_safe_version

STAGES: Final = ("5%", "25%", "100%")
LIMIT: Final = "2%"
WAIT_S: Final = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME@VERSION", help="what the devices shall run")
    parser.add_argument(
        "--canary",
        metavar="SHARE",
        help="the first stage: a share of the devices like 5%%, or their number; without stages it is 5%%, 25%%, 100%%",
    )
    parser.add_argument(
        "--then", metavar="SHARE", action="append", help="a further stage, those before included; may be repeated"
    )
    parser.add_argument(
        "--stop-if-failed",
        metavar="SHARE",
        default=LIMIT,
        help="so many failures, of the devices that were asked so far, stop it; default: 2%%",
    )
    parser.add_argument(
        "--to",
        metavar="PATTERN",
        action="append",
        nargs="+",
        help="devices by name, * stands for anything, also those that do not have the model; default: all that have it",
    )
    parser.add_argument(
        "--wait-s",
        metavar="N",
        type=positive,
        default=WAIT_S,
        help=f"how long devices that are not there are waited for; default: {WAIT_S:g}",
    )
    parser.add_argument(
        "--urgent", action="store_true", help="windows, metered links and the day's budget do not hold it up"
    )
    parser.add_argument("--again", action="store_true", help="ask those once more that failed before")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cancel", action="store_true", help="withdraw it where it has not ended")
    what.add_argument("--dry-run", action="store_true", help="show how the devices stand, and write nothing")
    parser.add_argument(
        "--wait",
        metavar="S",
        type=positive,
        default=QUIET_S,
        help=f"how long the broker must be silent before its list of devices counts as complete; default: {QUIET_S:g}",
    )


def run(call: Call) -> int:
    """0 where every device has it, or with --cancel and --dry-run."""
    options = call.options
    plan = plan_of(options)
    broker = broker_of(call)
    patterns = [one for some in options.to or [] for one in some]
    view = _view(plan, json=options.json)
    name = f"{device_name(socket.gethostname())}-{secrets.token_hex(2)}"
    rolling = Rolling(
        broker.settings, broker.fleet, plan, patterns=patterns, run=name, dry=options.dry_run, quiet_s=options.wait
    )
    try:
        last = wait_for(_carry_out(rolling, view))
    except KeyboardInterrupt:
        view.close()
        print(
            "Devices that were asked go on. The same command goes on from there, --cancel withdraws.", file=sys.stderr
        )
        raise
    except BaseException:
        view.close()
        raise
    view.finish(last)
    if options.dry_run or last.decision.phase is Phase.CANCELLED:
        return 0
    whole = all(one.standing is Standing.COMMITTED for one in last.decision.inside)
    return 0 if last.decision.phase is Phase.DONE and whole and not last.taken_over else 1


def _view(plan: Plan, *, json: bool) -> RolloutView:
    if json:
        return JsonView(plan)
    return ScreenView(plan) if sys.stdout.isatty() else LineView(plan)


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises `ConfigError`."""
    model, _, version = options.model.partition("@")
    if not is_safe_name(model) or not is_safe_version(version):
        raise ConfigError(f"{options.model[:80]!a}: expected NAME@VERSION, like assistant@2.1.0.")
    given = [*([options.canary] if options.canary else []), *(options.then or [])]
    return Plan(
        model=model,
        version=version,
        stages=tuple(map(Share.parse, given or STAGES)),
        limit=Share.parse(options.stop_if_failed),
        wait_s=options.wait_s,
        urgent=options.urgent,
        again=options.again,
        cancel=options.cancel,
    )


async def _carry_out(rolling: Rolling, view: RolloutView) -> Look:
    last: Look | None = None
    async for event in rolling.events():
        if isinstance(event, Notice):
            view.say(event.text)
        else:
            last = event
            view.show(event)
    assert last is not None
    return last
