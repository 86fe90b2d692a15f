"""A chunk index on the disk, read as it is needed: memory does not grow with the file that it describes."""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from agent.chunks.index import DIGEST_BYTES, MAX_CHUNK_BYTES, MAX_CHUNKS, ChunkIndex
from agent.errors import UntrustedError
from agent.updates.fetch.transport import Wanted

_BATCH: Final = 1024
_HEAD: Final = struct.Struct("<7sBQI32s")
"""As `agent.chunks.index` describes it; a test holds the two together."""
_HEAD_VALUES: Final = (b"EDGECHK", 1)
_LENGTH: Final = struct.Struct("<I")


class Listing:
    """The index of a file of `size_bytes` with the hash `sha256`. Raises `UntrustedError` if it is of another file, or
    none at all; `OSError`. For one thread."""

    def __init__(self, path: Path, *, size_bytes: int, sha256: str) -> None:
        self.path = path
        self.sha256 = sha256
        self.size_bytes = size_bytes
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.count = self._check()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Listing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def __iter__(self) -> Iterator[Wanted]:
        """All chunks, in the file's order."""
        offset = 0
        for first in range(0, self.count, _BATCH):
            lengths, digests = self._batch(first, min(_BATCH, self.count - first))
            for index, length in enumerate(lengths):
                start = index * DIGEST_BYTES
                yield Wanted(first + index, offset, length, digests[start : start + DIGEST_BYTES])
                offset += length

    def _batch(self, first: int, count: int) -> tuple[tuple[int, ...], bytes]:
        lengths = self._read(_HEAD.size + first * _LENGTH.size, count * _LENGTH.size)
        digests_at = _HEAD.size + self.count * _LENGTH.size
        return (
            struct.unpack(f"<{count}I", lengths),
            self._read(digests_at + first * DIGEST_BYTES, count * DIGEST_BYTES),
        )

    def _read(self, offset: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if len(data) != size:
            raise self._fault("it is cut short")
        return data

    def _check(self) -> int:
        magic, version, total_bytes, count, digest = _HEAD.unpack(self._read(0, _HEAD.size))
        if (magic, version) != _HEAD_VALUES:
            raise self._fault("it does not start as one of this version of edge-agent")
        if count > MAX_CHUNKS:
            raise self._fault(f"it has {count} chunks, and {MAX_CHUNKS} is the most")
        expected = _HEAD.size + count * (_LENGTH.size + DIGEST_BYTES)
        if os.fstat(self._descriptor).st_size != expected:
            raise self._fault(f"{count} chunks take {expected} bytes, and it has another size")
        if digest.hex() != self.sha256 or total_bytes != self.size_bytes:
            raise self._fault("it is of another file")
        listed_bytes = 0
        for first in range(0, count, _BATCH):
            size = min(_BATCH, count - first) * _LENGTH.size
            lengths = struct.unpack(f"<{size // _LENGTH.size}I", self._read(_HEAD.size + first * _LENGTH.size, size))
            if min(lengths) < 1 or max(lengths) > MAX_CHUNK_BYTES:
                raise self._fault(f"a chunk has no bytes, or more than {MAX_CHUNK_BYTES}")
            listed_bytes += sum(lengths)
        if listed_bytes != self.size_bytes:
            raise self._fault(f"its chunks have {listed_bytes} bytes together, and the file {self.size_bytes}")
        return int(count)

    def _fault(self, what: str) -> UntrustedError:
        return UntrustedError(f"{self.path.name} is no chunk index: {what}.", hint="Publish the artifact again.")


def single_chunk(size_bytes: int, sha256: str) -> bytes:
    """The index of a file that is one chunk, or empty, as a file."""
    lengths = array("I", [size_bytes] if size_bytes else [])
    return ChunkIndex(sha256, lengths, bytes.fromhex(sha256) if size_bytes else b"").encode()
