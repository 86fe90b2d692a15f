"""`edge-agent models update` and `models updates`: asking for a new version, and what has become of others."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from agent.commands.call import Call
from agent.commands.printable import printable
from agent.terminal import print_json, size, table

LOOK_S: Final = 0.5
FINAL: Final = frozenset({"committed", "rejected", "cancelled", "failed"})
_ENDED_SHOWN: Final = 10
_STEP_PERCENT: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME[@VERSION]", help="without a version it is the repository's latest")
    parser.add_argument(
        "--urgent", action="store_true", help="do not wait for a window, on a metered link, or for the day's budget"
    )
    parser.add_argument("--again", action="store_true", help="also a version that was tested and rejected")
    parser.add_argument("--cancel", action="store_true", help="take back what is under way")
    parser.add_argument("--no-wait", action="store_true", help="return at once; the daemon goes on by itself")


def update(call: Call) -> int:
    """0 once the version has proved itself, 1 if it came to another end."""
    options = call.options
    name, _, version = options.model.partition("@")
    path = f"/models/{quote(name, safe='')}/update"
    if options.cancel:
        cancelled = call.client.delete(path)["updates"]
        if options.json:
            print_json(cancelled)
        else:
            print("\n".join(f"{label(one)}: taken back." for one in cancelled))
        return 0
    policy = {key: True for key in ("urgent", "again") if getattr(options, key)}
    body = {**({"version": version} if version else {}), **({"policy": policy} if policy else {})}
    found = call.client.post(path, body)
    if not options.no_wait:
        found = _follow(call, found, quiet=options.json)
    if options.json:
        print_json(found)
    elif options.no_wait:
        print(line(found))
    return int(found["state"] in FINAL - {"committed"})


def updates(call: Call) -> int:
    found = call.client.get("/updates")
    if call.options.json:
        print_json(found)
    else:
        print("\n".join(lines(found)))
    return 0


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer of `GET /updates` for a person."""
    if found["error"]:
        yield f"Trouble: {printable(found['error'])}"
    shown = [*found["updates"], *found["ended"][:_ENDED_SHOWN]]
    if not shown:
        yield "No update is under way, and none was. edge-agent models update NAME asks for one."
    else:
        rows = [[one["model"], one["version"] or one["target"] or "latest", _when(one), _says(one)] for one in shown]
        yield table(rows, ("MODEL", "VERSION", "SINCE", "STATE"))
    for one in found["rejected"]:
        yield f"rejected  {one['model']} {one['version']}: {printable(one['reason'])}"
    today = found["today"]
    if today["fetched_bytes"] or today["limit_bytes"]:
        limit = f" of {size(today['limit_bytes'])}" if today["limit_bytes"] else ""
        yield f"today     {size(today['fetched_bytes'])}{limit} fetched"


def line(one: Mapping[str, Any]) -> str:
    return f"{label(one)}: {_says(one)}"


def label(one: Mapping[str, Any]) -> str:
    return f"{one['model']} {one['version'] or one['target'] or '(latest)'}"


def _says(one: Mapping[str, Any]) -> str:
    return printable(one["says"])


def _when(one: Mapping[str, Any]) -> str:
    return f"{datetime.fromtimestamp(one['changed_at']):%Y-%m-%d %H:%M}"


def _follow(call: Call, found: Mapping[str, Any], *, quiet: bool) -> Mapping[str, Any]:
    """The update at its end; each thing that it says until then is a line."""
    said: object = None
    while True:
        news = found["state"], found["waiting"], found["attempts"], found["progress_percent"] // _STEP_PERCENT
        if not quiet and news != said:
            print(line(found), flush=True)
        if found["state"] in FINAL:
            return found
        said = news
        time.sleep(LOOK_S)
        found = call.client.get(f"/updates/{found['id']}")
