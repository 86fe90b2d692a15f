"""How bytes of the repository come here; `http.py` and `blocks.py` are the two ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import quote


class Wanted(NamedTuple):
    """A chunk that is to be fetched: its place in the index and in the file."""

    number: int
    offset: int
    length: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A file of the repository: by its path below the repository's URL, and by its name among blocks."""

    path: str
    key: str

    @classmethod
    def metadata(cls, file_name: str) -> Place:
        return cls(f"metadata/{quote(file_name, safe='%')}", file_name)

    @classmethod
    def target(cls, target_path: str, sha256: str) -> Place:
        """With consistent snapshots the hash is part of a target's file name (TUF 1.0, 6.2.3)."""
        folder, slash, name = target_path.rpartition("/")
        return cls(f"targets/{quote(folder)}{slash}{sha256}.{quote(name)}", sha256)


class Transport(Protocol):
    """Both raise `UpdateError`: `InterruptedFetchError` and `HeldError` for what may go on where it ended,
    `NotThereError`. What they bring is not checked."""

    def read(self, place: Place, size_bytes: int | None = None) -> Iterator[bytes]:
        """A whole file from its beginning; never more than `size_bytes`, where that is known."""

    def chunks(self, place: Place, total_bytes: int, wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, bytes]]:
        """Chunks of a file of `total_bytes`, in any order. Some may be left out: they are asked for again."""

    def close(self) -> None: ...
