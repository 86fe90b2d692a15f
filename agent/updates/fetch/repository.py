"""Signed metadata by python-tuf: its client decides what is trusted, ours carries the bytes and keeps the time."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from agent.errors import ConfigError, EdgeAgentError, UntrustedError, UpdateError
from agent.updates.fetch.clock import believed_time, note_time
from agent.updates.fetch.faults import InterruptedFetchError, NotThereError
from agent.updates.fetch.places import CLOCK, METADATA
from agent.updates.fetch.transport import Place, Transport

ATTEMPTS: Final = 3
PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
SMALL_BYTES: Final = 1024 * 1024
"""The most that a target may have that is held in memory."""
LIMITS: Final = UpdaterConfig(
    max_root_rotations=256,
    max_delegations=8,
    root_max_length=256 * 1024,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=256 * 1024,
    targets_max_length=5_000_000,
)
"""Bytes that are read of each kind of metadata; 5 MB of targets are about 25,000 files."""

_BASE: Final = "tuf:///"


class TrustedRepository:
    """Metadata as verified now. `refresh` first.

    Raises `UntrustedError` for what is not as signed, `UpdateError` for what does not come, `OSError`.
    """

    def __init__(
        self,
        folder: Path,
        root: bytes,
        transport: Transport,
        *,
        wall: Callable[[], float] = time.time,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._folder = folder / METADATA
        self._note = folder / CLOCK
        self._folder.mkdir(parents=True, exist_ok=True)
        self._transport = transport
        self._pause = pause
        self._now = believed_time(wall(), self._note)
        try:
            self._updater = _Client(self._folder, root, _Carrier(transport, pause), self._now)
        except RepositoryError as error:
            raise ConfigError(
                f"updates.root_file is no root of trust: {_said(error)}.",
                hint="Copy it from the repository: edge-convert keys show says which file it is.",
                param="updates.root_file",
            ) from error

    def refresh(self) -> None:
        """Root, timestamp, snapshot, targets, as TUF's client workflow has it (1.0, 5.3)."""
        with self._told():
            self._updater.refresh()
        for path in self._folder.rglob("*.json"):  # python-tuf does not: a power cut would undo what was learned
            with contextlib.suppress(OSError):
                _sync(path)
        _sync(self._folder)
        note_time(self._now, self._note)

    def find(self, target: str) -> TargetFile | None:
        """What is signed about a target; None if nothing is."""
        with self._told():
            return self._updater.get_targetinfo(target)

    def small(self, target: TargetFile) -> bytes:
        """A target's bytes, checked."""
        if target.length > SMALL_BYTES:
            raise UntrustedError(f"{target.path} has {target.length} bytes; {SMALL_BYTES} is the most.")
        return b"".join(self._checked(target))

    def save(self, target: TargetFile, path: Path) -> None:
        """A target into the file `path`, checked, durably; its memory does not grow with it."""
        temporary = path.with_name(f".{path.name}")
        try:
            with temporary.open("wb") as file:
                for piece in self._checked(target):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def _checked(self, target: TargetFile) -> Iterator[bytes]:
        """The caller may believe it when it has all come."""
        import hashlib

        place = Place.target(target.path, sha256_of(target))
        digest = hashlib.sha256()
        for piece in _patiently(lambda: self._transport.read(place, target.length), self._pause):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != sha256_of(target):
            raise UntrustedError(
                f"{target.path} is not what was signed: another SHA-256.", retry=True, hint="It is tried again later."
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except EdgeAgentError:
            raise
        except ExpiredMetadataError as error:
            raise UntrustedError(
                f"The repository's metadata has expired ({_said(error)}); it is {self._now:%Y-%m-%d %H:%M} UTC here.",
                retry=True,
                hint="Renew it with edge-convert publish, or set this device's clock. The running model goes on.",
            ) from error
        except RepositoryError as error:
            raise UntrustedError(
                f"The repository's metadata is not to be trusted: {_said(error)}.",
                retry=True,
                hint="Nothing was installed; the running model goes on.",
            ) from error
        except DownloadLengthMismatchError as error:
            raise UntrustedError(f"The repository's metadata does not end: {_said(error)}.", retry=True) from error
        except DownloadHTTPError as error:
            raise NotThereError(
                f"The repository has no metadata: {_said(error)}.", answer=error.status_code, hint="Check updates.url."
            ) from error
        except DownloadError as error:
            raise UpdateError(f"The repository's metadata does not come: {_said(error)}.", retry=True) from error


def sha256_of(target: TargetFile) -> str:
    """Raises `UntrustedError` if it is signed with other hashes only."""
    found = target.hashes.get("sha256", "")
    if len(found) != 64:
        raise UntrustedError(f"{target.path} is signed without a SHA-256.")
    return found


def version_in(data: bytes) -> str:
    """What latest.json names. Raises `UntrustedError`."""
    try:
        version = json.loads(data)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        version = None
    if not isinstance(version, str):
        raise UntrustedError("latest.json names no version.", hint="Publish the model again.")
    return version


class _Client(Updater):
    """python-tuf takes the time from the system alone."""

    def __init__(self, folder: Path, root: bytes, carrier: FetcherInterface, now: datetime) -> None:
        super().__init__(str(folder), _BASE, fetcher=carrier, config=LIMITS, bootstrap=root)
        self._trusted_set.reference_time = now


class _Carrier(FetcherInterface):
    def __init__(self, transport: Transport, pause: Callable[[float], object]) -> None:
        self._transport = transport
        self._pause = pause

    def _fetch(self, url: str) -> Iterator[bytes]:
        place = Place.metadata(url.removeprefix(_BASE))
        try:
            yield from _patiently(lambda: self._transport.read(place), self._pause)
        except NotThereError as error:
            raise DownloadHTTPError(error.message, error.answer) from error


def _patiently(read: Callable[[], Iterator[bytes]], pause: Callable[[float], object]) -> Iterator[bytes]:
    """Begins again while nothing has come; what was begun is not repeated."""
    for attempt in range(1, ATTEMPTS + 1):
        begun = False
        try:
            for piece in read():
                begun = True
                yield piece
            return
        except InterruptedFetchError as error:
            if begun or attempt == ATTEMPTS:
                raise
            pause(max(min(error.wait_s, LONGEST_PAUSE_S), PAUSE_S * attempt))


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
