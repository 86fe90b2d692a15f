"""What this board has for models right now: the facts that `models pull` and `models suggest` decide by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.commands.call import Call
from agent.errors import EdgeAgentError
from agent.hardware import board as boards
from agent.hardware import checks, doctor
from agent.hardware.board import Board
from agent.hardware.memory import read_memory
from agent.hardware.profile import Profile, choose, load_profiles
from agent.hub.room import Room
from agent.store.durable import Filesystem
from agent.store.store import FREE_SPACE_MARGIN_BYTES


@dataclass(frozen=True, kw_only=True)
class BoardRoom:
    """`profile` is resolved for `board`."""

    board: Board
    profile: Profile
    room: Room


def look_around(call: Call) -> BoardRoom:
    """Memory as the running daemon's ledger has it, else as `doctor` finds it; disk where the models are.

    Raises `ConfigError`.
    """
    settings = call.settings
    board = boards.detect()
    match = choose(board, load_profiles(), settings.profile)
    source = str(settings.config_file or "the configuration")
    profile = match.profile.resolve(board, settings.profile_overrides, source=source)
    report = doctor.examine(board, match, profile, read_memory(), checks.gather(call.near_state_dir))
    memory_bytes = report.budget_bytes
    if report.pool == "memory":
        memory_bytes = _daemons_budget(call) or memory_bytes
    room = Room(
        memory_bytes=memory_bytes,
        disk_bytes=free_bytes(call.near_state_dir) - FREE_SPACE_MARGIN_BYTES,
        llama=profile.llama,
        decode_gb_per_s=profile.recommend.decode_gb_per_s,
    )
    return BoardRoom(board=board, profile=profile, room=room)


def free_bytes(folder: Path) -> int:
    """Bytes free on the file system that `folder` is on, or will be."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return Filesystem().free_bytes(there)


def _daemons_budget(call: Call) -> int | None:
    """What its models hold counts as theirs, and could be given up for another; None where no daemon tells."""
    if call.running is None:
        return None
    try:
        return int(call.client.get("/status")["runtime"]["ledger"]["budget_bytes"])
    except (EdgeAgentError, KeyError, TypeError, ValueError):
        return None
