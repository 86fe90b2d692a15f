"""A file on its way: what is there of it, on the disk and hashed. A killed download is gone on with from here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from agent.errors import ArtifactError
from agent.hub.repository import Digest, RemoteFile

FLUSH_EVERY_BYTES: Final = 32 * 1024 * 1024
"""Few dirty pages on a small board, and little lost in a power cut."""
_BLOCK_BYTES: Final = 1024 * 1024

Count = Callable[[int], None]


class TooMuchError(ArtifactError):
    """More came than the hub promised."""


class Part:
    """The file `path`, which holds the first `done_bytes` of `file`; `on_bytes` is told of bytes won and lost.

    `before_write` is called before each write; it may raise to keep the disk from filling up. Use it in a `with`.
    """

    def __init__(self, path: Path, file: RemoteFile, *, on_bytes: Count, before_write: Callable[[], None]) -> None:
        self.path = path
        self.file = file
        self._on_bytes = on_bytes
        self._before_write = before_write
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        self._digest = Digest(file)
        self._position = 0
        self._flushed_bytes = 0
        self.found_bytes = self._take_over()

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    @property
    def done_bytes(self) -> int:
        return self._position

    @property
    def whole(self) -> bool:
        return self._position == self.file.bytes

    @property
    def right(self) -> bool:
        return self.whole and self._digest.right

    @property
    def sha256(self) -> str:
        return self._digest.sha256

    @property
    def found(self) -> str:
        """The hash of what is here, of the kind that the hub knows."""
        return self._digest.found

    def write(self, data: bytes, /) -> int:
        """Appends. Raises `TooMuchError`, and `OSError`."""
        if self._position + len(data) > self.file.bytes:
            raise TooMuchError(f"The hub sends more of {self.file.path} than the {self.file.bytes} bytes it promised.")
        self._before_write()
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            self._digest.update(rest[:written])
            self._position += written
            self._on_bytes(written)
            rest = rest[written:]
        if self._position - self._flushed_bytes >= FLUSH_EVERY_BYTES:
            self.sync()
        return len(data)

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, /) -> int:
        """Only back to the beginning, which `truncate` then makes the end: a server that knows no ranges."""
        if offset != 0:
            raise ValueError(f"a download is not continued at {offset}")
        return 0

    def truncate(self) -> int:
        self.empty()
        return 0

    def empty(self) -> None:
        """Forgets all that is here."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._on_bytes(-self._position)
        self._position = self._flushed_bytes = 0
        self._digest = Digest(self.file)

    def sync(self) -> None:
        os.fsync(self._descriptor)
        self._flushed_bytes = self._position

    def _take_over(self) -> int:
        """Hashes what an earlier run left, which says how far it came."""
        if os.fstat(self._descriptor).st_size > self.file.bytes:
            os.ftruncate(self._descriptor, 0)
        while block := os.read(self._descriptor, _BLOCK_BYTES):
            self._digest.update(block)
            self._position += len(block)
        self._flushed_bytes = self._position
        self._on_bytes(self._position)
        return self._position
