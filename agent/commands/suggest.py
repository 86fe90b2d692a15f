"""`edge-agent models suggest`: which well-known models fit this board, what they take, and how to get them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from agent.commands.board_room import BoardRoom, look_around
from agent.commands.call import Call
from agent.hub.catalog import TASKS, Suggestion, gigabytes, known_models, suggestions
from agent.terminal import print_json, size, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=TASKS, help="only models for this")


def run(call: Call) -> int:
    here = look_around(call)
    task = call.options.task
    found = [
        one for one in suggestions(known_models(), here.profile.recommend, here.room) if task in (None, one.model.task)
    ]
    if call.options.json:
        print_json(
            {
                "profile": here.profile.name,
                "memory_bytes": here.room.memory_bytes,
                "disk_bytes": max(0, here.room.disk_bytes),
                "models": [_value(one) for one in found],
            }
        )
        return 0
    _print(here, found)
    return 0


def _print(here: BoardRoom, found: Sequence[Suggestion]) -> None:
    memory, disk = gigabytes(here.room.memory_bytes), gigabytes(here.room.disk_bytes)
    fitting = [one for one in found if one.fits]
    if fitting:
        print(f"What fits this board now ({here.profile.name}: {memory} for models, {disk} of disk):\n")
        heads = ("MODEL", "TASK", "DOWNLOAD", "MEMORY", "CONTEXT", "TOKENS/S")
        print(table([_row(one) for one in fitting], heads, right=(2, 3, 4, 5)))
        print("\n* recommended for this board. To get one:\n")
        for one in fitting:
            print(f"  {one.command}")
    else:
        print(f"None of them fits this board now ({here.profile.name}: {memory} for models, {disk} of disk).")
    others = [one for one in found if not one.fits]
    if others:
        print("\nWhat does not:\n")
        for one in others:
            print(f"  {one.model.name}: {one.reason}.")


def _row(one: Suggestion) -> list[str]:
    return [
        f"{'*' if one.recommended else ' '} {one.model.name}",
        one.model.task,
        size(one.model.bytes),
        size(one.need.bytes),
        str(one.need.context_tokens or "-"),
        _speed(one),
    ]


def _speed(one: Suggestion) -> str:
    """Of models that generate; nobody counts the tokens of the others."""
    if one.model.task != "generate":
        return "-"
    speed = one.need.tokens_per_s
    return "not known" if speed is None else f"~{speed:.{1 if speed < 10 else 0}f}"


def _value(one: Suggestion) -> dict[str, Any]:
    return {
        "name": one.model.name,
        "task": one.model.task,
        "fits": one.fits,
        "recommended": one.recommended,
        "reason": one.reason or None,
        "download_bytes": one.model.bytes,
        "memory_bytes": one.need.bytes,
        "context_tokens": one.need.context_tokens or None,
        "tokens_per_second": None if one.need.tokens_per_s is None else round(one.need.tokens_per_s, 1),
        "license": one.model.license,
        "source": one.model.source,
        "command": one.command,
    }
