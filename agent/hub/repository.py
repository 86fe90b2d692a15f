"""What the hub says of a repository: its commit, its license, its files with their sizes and hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a repository. The hub knows large files by their SHA-256, small ones by git's hash of the blob (SHA-1
    of a header and the bytes); one of the two may be "". Both in lower-case hex. `bytes` is -1 where the hub is silent.
    """

    path: str
    bytes: int
    sha256: str = ""
    blob_sha1: str = ""

    @property
    def digest(self) -> str:
        return self.sha256 or self.blob_sha1


@dataclass(frozen=True, kw_only=True)
class Repository:
    """`revision` is the commit; `license` the model card's, None where it names none; `endpoint` the hub's address."""

    name: str
    revision: str
    license: str | None
    endpoint: str
    files: tuple[RemoteFile, ...]

    @property
    def label(self) -> str:
        """Where a model came from, in one line for a manifest."""
        return f"hf:{self.name}@{self.revision}"


class Digest:
    """Hashes the bytes of one file as they come, in the way that the hub knows it and as the store does."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._blob = hashlib.sha1(b"blob %d\0" % file.bytes, usedforsecurity=False)

    def update(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        if not self._file.sha256:
            self._blob.update(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def found(self) -> str:
        """The hash of the kind that the hub knows."""
        return self.sha256 if self._file.sha256 else self._blob.hexdigest()

    @property
    def right(self) -> bool:
        return self.found == self._file.digest
