"""One daemon per state folder: the lock that makes it so, and the note by which the command line finds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

import msgspec

from agent.errors import StoreError, UnavailableError

SERVICE_STATE_DIR = Path("/var/lib/edge-agent")

_LOCK = "daemon.lock"
_NOTE = "daemon.json"
_PATIENCE_S = 0.2


class Running(msgspec.Struct, frozen=True):
    """`daemon.json`: the daemon that serves a state folder."""

    pid: int
    url: str
    version: str


class Instance:
    """This process as the daemon of `state_dir`. The kernel lets go of the lock however the process ends."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the folder, creating it. Raises `UnavailableError` if a daemon has it, `StoreError` if it is not ours.

        Left-overs of a daemon that was killed are removed.
        """
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StoreError(
                f"The state folder {self._folder} cannot be used: {error.strerror}.",
                hint="Choose another with --state-dir, or run as the user it belongs to.",
                param="state_dir",
            ) from None
        if not _taken(descriptor):
            os.close(descriptor)
            other = _read(self._folder)
            who = f"pid {other.pid}, {other.url}" if other else "it is starting or stopping"
            raise UnavailableError(
                f"A daemon already serves {self._folder} ({who}).",
                hint="Stop it first, or give this one a folder of its own with --state-dir.",
                param="state_dir",
            ) from None
        self._descriptor = descriptor
        _let_all_read(descriptor)
        self._forget()

    def announce(self, url: str, version: str) -> None:
        """Writes `daemon.json`. Raises `StoreError`."""
        temporary = self._folder / f".{_NOTE}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(Running(os.getpid(), url, version)))
                _let_all_read(file.fileno())
            temporary.rename(self._folder / _NOTE)
        except OSError as error:
            raise StoreError(f"{self._folder / _NOTE} cannot be written: {error.strerror}.") from None

    def release(self) -> None:
        """Removes the note and lets go of the folder. Idempotent."""
        if self._descriptor is not None:
            self._forget()
            os.close(self._descriptor)
            self._descriptor = None

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            (self._folder / _NOTE).unlink(missing_ok=True)


def url_of(host: str, port: int) -> str:
    """Where this machine reaches a daemon that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def find_running(state_dir: Path) -> Running | None:
    """The daemon that serves `state_dir` right now, if there is one: a note alone proves nothing, the lock does."""
    note = _read(state_dir)
    if note is None:
        return None
    try:
        descriptor = os.open(state_dir / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return note
    finally:
        os.close(descriptor)
    return None


def _let_all_read(descriptor: int) -> None:
    """Whatever the umask: other people's commands find the daemon by the note and the lock."""
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o644)


def _taken(descriptor: int) -> bool:
    """Takes the lock; tries for a moment, because `find_running` holds it for the time of a look."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= give_up:
                return False
        time.sleep(0.02)


def _read(state_dir: Path) -> Running | None:
    try:
        return msgspec.json.decode((state_dir / _NOTE).read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None
