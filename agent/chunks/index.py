"""The list of a file's chunks: a small file that is signed, and read by devices that trust nothing else about it.

magic     7 bytes    "EDGECHK"
version   1 byte     1
bytes     8 bytes    size of the file; numbers are little-endian
count     4 bytes    of chunks
sha256    32 bytes   of the file
lengths   count x 4  of the chunks, in the file's order; no gaps
digests   count x 32 SHA-256 of each chunk
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, overload

from agent.errors import ArtifactError

MAX_CHUNK_BYTES: Final = 128 * 1024
"""No chunk is longer: one fits into one MQTT block."""
MAX_CHUNKS: Final = 1 << 20
"""Of one file: 64 GB at the usual mean, and an index of 38 MB."""
DIGEST_BYTES: Final = 32

_MAGIC: Final = b"EDGECHK"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<7sBQI32s")
_LENGTH_BYTES: Final = 4
MAX_INDEX_BYTES: Final = _HEAD.size + MAX_CHUNKS * (_LENGTH_BYTES + DIGEST_BYTES)


class Chunk(NamedTuple):
    """Bytes `offset` to `offset + length` of a file; `sha256` is 32 bytes."""

    offset: int
    length: int
    sha256: bytes


class ChunkIndex(Sequence[Chunk]):
    """A sequence of chunks in the file's order, 44 bytes of memory for each.

    `bytes` is the size of the file and `sha256` its hash in hex. `lengths` are those of the chunks and `digests` their
    SHA-256, one after the other.
    """

    __slots__ = ("_offsets", "bytes", "digests", "lengths", "sha256")

    def __init__(self, sha256: str, lengths: array[int], digests: bytes) -> None:
        """Raises `ArtifactError` for lengths or hashes that no file can have."""
        if len(digests) != len(lengths) * DIGEST_BYTES:
            raise _fault(f"it has {len(lengths)} lengths and {len(digests) / DIGEST_BYTES:g} hashes")
        if len(lengths) > MAX_CHUNKS:
            raise _fault(f"it has {len(lengths)} chunks, and {MAX_CHUNKS} is the most")
        if lengths and not (min(lengths) >= 1 and max(lengths) <= MAX_CHUNK_BYTES):
            raise _fault(f"a chunk has no bytes, or more than {MAX_CHUNK_BYTES}")
        self.sha256 = sha256
        self.lengths = lengths
        self.digests = digests
        self._offsets = array("Q", accumulate(lengths, initial=0))
        self.bytes = self._offsets[-1]

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, key: int) -> Chunk: ...
    @overload
    def __getitem__(self, key: slice) -> list[Chunk]: ...
    def __getitem__(self, key: int | slice) -> Chunk | list[Chunk]:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        number = range(len(self))[key]
        start = number * DIGEST_BYTES
        return Chunk(self._offsets[number], self.lengths[number], self.digests[start : start + DIGEST_BYTES])

    def __iter__(self) -> Iterator[Chunk]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChunkIndex):
            return NotImplemented
        return (self.sha256, self.lengths, self.digests) == (other.sha256, other.lengths, other.digests)

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"ChunkIndex({self.bytes} bytes, {len(self)} chunks, {self.sha256})"

    def encode(self) -> bytes:
        """The index as a file."""
        head = _HEAD.pack(_MAGIC, _VERSION, self.bytes, len(self), bytes.fromhex(self.sha256))
        return b"".join((head, _little_endian(self.lengths).tobytes(), self.digests))

    @classmethod
    def decode(cls, data: bytes) -> ChunkIndex:
        """The index in `data`. Raises `ArtifactError` for anything that `encode` would not have written."""
        if len(data) < _HEAD.size or not data.startswith(_MAGIC):
            raise _fault("it does not start as one")
        _, version, total_bytes, count, digest = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise _fault(f"it is of version {version}, and this edge-agent reads version {_VERSION}")
        if count > MAX_CHUNKS:
            raise _fault(f"it has {count} chunks, and {MAX_CHUNKS} is the most")
        expected_bytes = _HEAD.size + count * (_LENGTH_BYTES + DIGEST_BYTES)
        if len(data) != expected_bytes:
            raise _fault(f"it has {len(data)} bytes, and {count} chunks take {expected_bytes}")
        lengths = array("I")
        digests_at = _HEAD.size + count * _LENGTH_BYTES
        lengths.frombytes(data[_HEAD.size : digests_at])
        index = cls(digest.hex(), _little_endian(lengths), data[digests_at:])
        if index.bytes != total_bytes:
            raise _fault(f"its chunks have {index.bytes} bytes together, and the file {total_bytes}")
        return index


def _little_endian(lengths: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return lengths
    swapped = lengths[:]
    swapped.byteswap()
    return swapped


def _fault(what: str) -> ArtifactError:
    return ArtifactError(f"This is no chunk index: {what}.", hint="Publish the artifact again.")
