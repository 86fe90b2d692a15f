from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def open_fds() -> Callable[[], set[str]]:
    """The open file descriptors of this process, with what they are."""

    def look() -> set[str]:
        found = set()
        for entry in Path("/proc/self/fd").iterdir():
            try:
                found.add(f"{entry.name}:{entry.readlink()}")
            except OSError:
                continue
        return found

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    return look
