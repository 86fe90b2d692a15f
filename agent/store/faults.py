"""Where the operating system's errors become the store's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import DiskFullError, StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """`OSError` inside becomes `DiskFullError` (full disk or quota) or `StoreError`, with `doing` in the message."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(
                f"The disk became full while {doing}; what was written of it has been removed.",
                hint="Remove a version that is not needed (edge-agent models rm) or free space elsewhere.",
            ) from error
        where = f" ({error.filename})" if error.filename is not None else ""
        raise StoreError(f"Something went wrong while {doing}: {error.strerror or error}{where}.") from error
