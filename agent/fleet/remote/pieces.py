"""A result that was too large for one message, put together again. Pure.

The device publishes piece i on `P/cmd/{op}/{id}/result/{i}`; its final message says how many there are and the SHA-256
of the whole. Pieces and final message may come in any order, and more than once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from agent.fleet.remote.payload import GarbledError, read

PIECES: Final = 4096
RESULT_BYTES: Final = 64 * 1024 * 1024
"""Longest result of one device."""
ALL_BYTES: Final = 256 * 1024 * 1024
"""What unfinished results of all devices may take together."""


@dataclass(frozen=True, slots=True)
class Manifest:
    count: int
    bytes: int
    sha256: str

    @classmethod
    def of(cls, value: Any) -> Manifest:
        """Out of `result_pieces`. Raises `GarbledError`."""
        fields = value if isinstance(value, dict) else {}
        count, size_bytes, sha256 = (fields.get(name) for name in ("count", "bytes", "sha256"))
        if type(count) is not int or type(size_bytes) is not int or not isinstance(sha256, str):
            raise GarbledError("a result in pieces without their count, bytes and sha256")
        if not (1 <= count <= PIECES and 0 <= size_bytes <= RESULT_BYTES):
            raise GarbledError(f"a result of {size_bytes:,} bytes in {count:,} pieces, more than is taken here")
        return cls(count, size_bytes, sha256.lower())


@dataclass
class Room:
    """What the boxes of all devices have taken together."""

    taken_bytes: int = 0


class PieceBox:
    """One device's pieces."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._pieces: dict[int, bytes] = {}
        self._bytes = 0
        self.manifest: Manifest | None = None

    def put(self, index: int, payload: bytes) -> None:
        """Raises `GarbledError` where it is too much. An empty payload is a piece that was cleared."""
        if not payload or not 0 <= index < PIECES:
            return
        more = len(payload) - len(self._pieces.get(index, b""))
        if self._bytes + more > RESULT_BYTES or self._room.taken_bytes + more > ALL_BYTES:
            raise GarbledError("larger than is taken here")
        self._pieces[index] = payload
        self._bytes += more
        self._room.taken_bytes += more

    @property
    def complete(self) -> bool:
        return self.manifest is not None and all(index in self._pieces for index in range(self.manifest.count))

    @property
    def progress(self) -> str:
        count = self.manifest.count if self.manifest else 0
        return f"{sum(index < count for index in self._pieces)} of {count} pieces"

    def result(self) -> Any:
        """Raises `GarbledError` where the whole is not what the device said it is."""
        assert self.manifest is not None
        whole = b"".join(self._pieces[index] for index in range(self.manifest.count))
        if len(whole) != self.manifest.bytes or hashlib.sha256(whole).hexdigest() != self.manifest.sha256:
            raise GarbledError("not what its sha256 says")
        return read(whole)

    def empty(self) -> None:
        self._room.taken_bytes -= self._bytes
        self._bytes = 0
        self._pieces.clear()
