"""Where things are in the fetch's own folder, and in a folder that a version comes into.

updates/
  metadata/                   python-tuf's: what was verified last, and all roots
  indices/SHA256.chunks       the chunk index of the file with that hash
  held.db                     chunks of local files (`held.py`)
  clock                       the latest time that was believed
  .lock                       flock: one child works here at a time
INTO/.fetch/SHA256.part, .bits
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import UpdateError

METADATA: Final = "metadata"
INDICES: Final = "indices"
HELD: Final = "held.db"
CLOCK: Final = "clock"
LOCK: Final = ".lock"
WORK: Final = ".fetch"

_LOCK_S: Final = 10.0


def index_path(folder: Path, sha256: str) -> Path:
    return folder / INDICES / f"{sha256}.chunks"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone in `folder`. A child of a daemon that was killed may have a moment to live: raises `UpdateError` if it
    does not end."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        give_up = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise UpdateError(f"Another process is fetching into {folder}.", retry=True) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
