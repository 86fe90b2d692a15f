"""Boards recorded as small files: `boards/<name>` is the root of a machine, `commands/` in it what commands print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent.hardware import board, memory
from agent.hardware.board import Board
from agent.hardware.command import Runner
from agent.hardware.memory import MemoryReading

BOARDS = Path(__file__).with_name("boards")
NAMES = tuple(sorted(path.name for path in BOARDS.iterdir()))


def root_of(name: str) -> Path:
    return BOARDS / name


def runner(name: str) -> Runner:
    """Answers with the recorded output, whole; `sysctl -n KEY` with that key's value."""

    def run(command: Sequence[str]) -> str | None:
        path = BOARDS / name / "commands" / command[0]
        text = path.read_text() if path.is_file() else None
        if text is not None and command[0] == "sysctl" and "-n" in command:
            return dict(line.split(": ", 1) for line in text.splitlines())[command[-1]]
        return text

    return run


def system_of(name: str) -> str:
    return "darwin" if name.startswith("mac-") else "linux"


def detect(name: str) -> Board:
    return board.detect(root_of(name), run=runner(name), system=system_of(name))


def read_memory(name: str) -> MemoryReading:
    return memory.read_memory(root_of(name), run=runner(name), system=system_of(name))
