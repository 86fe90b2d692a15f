"""Locks between processes: flock, which the kernel lets go of when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from agent.errors import UnavailableError

POLL_S: Final = 0.02


@contextmanager
def exclusive(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Holds the lock file `path`, creating it. Also excludes other threads of this process.

    Raises `UnavailableError` naming the holder's process id after `timeout_s`, and `OSError`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        give_up = time.monotonic() + timeout_s
        while not _taken(descriptor):
            if time.monotonic() >= give_up:
                raise UnavailableError(
                    f"The model store is being changed by another process ({_holder(descriptor)}) "
                    f"for more than {timeout_s:g} s.",
                    hint="Try again when it has finished.",
                )
            time.sleep(POLL_S)
        with suppress(OSError):  # only for the message above; on a full disk it may fail
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def hold_folder(path: Path) -> int | None:
    """A descriptor that holds the lock of folder `path` until it is closed; None if another holds it.

    Raises `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if _taken(descriptor):
            return descriptor
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _holder(descriptor: int) -> str:
    with suppress(OSError):
        pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        if pid.isdecimal():
            return f"pid {pid}"
    return "pid unknown"
