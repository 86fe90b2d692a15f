"""Doing a plan: running its commands, writing and removing its files."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from agent.errors import StoreError, UnavailableError
from agent.service.plan import Command, Plan

TIMEOUT_S = 180.0
"""`systemctl start` waits for READY=1, for `TimeoutStartSec=` (120 s) at most."""


def apply(plan: Plan) -> None:
    """Raises `StoreError`, `UnavailableError`. If a file cannot be written, those that are new are removed again."""
    for command in plan.before:
        run(command)
    for path in plan.remove:
        remove(path)
    new: list[Path] = []
    try:
        for path, data in plan.write.items():
            existed = path.exists()
            write(path, data)
            if not existed:
                new.append(path)
    except StoreError:
        for path in new:
            remove(path)
        raise
    for command in plan.after:
        run(command)


def run(command: Command) -> None:
    """Raises `UnavailableError` with what the command said, unless it is optional."""
    program = shutil.which(command.argv[0]) or shutil.which(command.argv[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None and command.later:
        return
    problem = _run(program, command.argv[1:]) if program is not None else "there is no such program here."
    if problem is not None and not command.optional:
        raise UnavailableError(
            f"Could not {command.why}: {' '.join(command.argv)}: {problem}",
            hint="journalctl -u edge-agent -n 30 shows what the service said." if "start" in command.argv else "",
        )


def _run(program: str, arguments: Sequence[str]) -> str | None:
    """Why it failed, on one line, or None."""
    try:
        done = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {TIMEOUT_S:.0f} s."
    except OSError as error:
        return f"{error.strerror}."
    if done.returncode == 0:
        return None
    said = (done.stderr or done.stdout).strip().splitlines()
    return said[-1] if said else f"it ended with status {done.returncode}."


def write(path: Path, data: bytes) -> None:
    """The whole file or none of it, and readable by all. Raises `StoreError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror}.", hint=_hint(error)) from None


def remove(path: Path) -> None:
    """A file, a link or a folder with all in it; nothing if it is not there. Raises `StoreError`."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}.", hint=_hint(error)) from None


def _hint(error: OSError) -> str:
    return "Run it with sudo, or with --user." if isinstance(error, PermissionError) else ""
