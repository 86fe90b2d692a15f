"""Files of a repository into a folder: gone on with where it stopped, checked by hash, with the disk watched.

A file is `.parts/<hash>` until it is whole and its hash is right; then one rename puts it where it belongs. So what
lies in the folder under its own name is what the hub has. A flock on the folder keeps a second pull out.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import DiskFullError, EdgeAgentError, HashMismatchError, StoreError, UnavailableError
from agent.hub.client import Sink
from agent.hub.faults import Interrupted
from agent.hub.part import Part, TooMuchError
from agent.hub.repository import Digest, RemoteFile
from agent.hub.tally import OnBytes, Tally
from agent.store.durable import Filesystem, opened
from agent.store.faults import FULL
from agent.store.locks import hold_folder

PARTS: Final = ".parts"
WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Before another try; the first again after each one that brought something."""
KEPT_S: Final = 14 * 86_400.0
"""How long the files of a pull that nobody went on with stay."""
LOOK_AT_DISK_EVERY: Final = 32
"""Writes, each of at most 256 KiB."""

Fetch = Callable[[RemoteFile, Sink, int], None]
"""Gets the bytes of a file from an offset on, in one go. Raises `Interrupted` where another try may help."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file of the repository, and its path in the folder, which is a safe one."""

    file: RemoteFile
    path: str


class Download:
    """What is brought into `folder`, held by us. `margin_bytes` stay free on the disk."""

    def __init__(
        self,
        folder: Path,
        wanted: Sequence[Wanted],
        *,
        margin_bytes: int,
        filesystem: Filesystem | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.wanted = tuple(wanted)
        self.total_bytes = sum(one.file.bytes for one in wanted)
        self._margin_bytes = margin_bytes
        self._filesystem = filesystem or Filesystem()
        self._pause = pause
        self._writes = 0

    @property
    def present_bytes(self) -> int:
        """What an earlier run left of it, by the sizes of files."""
        return sum(min(one.file.bytes, max(map(_size, self._places(one)))) for one in self.wanted)

    def run(self, fetch: Fetch, on_bytes: OnBytes | None = None) -> dict[str, str]:
        """Brings every file; returns the SHA-256 of each by its path in the folder.

        `on_bytes(done, total)` counts all files together. Raises `HashMismatchError`, `DiskFullError`, `StoreError`,
        and what `fetch` raises for good; what is there is kept for the next run.
        """
        tally = Tally(self.total_bytes, on_bytes)
        with self._translated():
            (self.folder / PARTS).mkdir(parents=True, exist_ok=True)
            self._forget_others()
            return {one.path: self._bring(one, fetch, tally) for one in self.wanted}

    def discard(self) -> None:
        """Removes the folder, when all is imported."""
        with suppress(OSError):
            self._filesystem.remove_tree(self.folder)

    def _bring(self, one: Wanted, fetch: Fetch, tally: Tally) -> str:
        target, part_path = self.folder / one.path, self._part(one)
        if _size(target) == one.file.bytes:  # whole, unless the disk lost it: read it again
            digest = _hashed(target, one.file)
            if digest.right:
                tally.add(one.file.bytes)
                return digest.sha256
            target.unlink()
        with Part(part_path, one.file, on_bytes=tally.add, before_write=self._look_at_disk) as part:
            self._complete(part, fetch)
            if not part.right and part.found_bytes:  # a power cut may have spoiled what was there
                part.empty()
                self._complete(part, fetch)
            if not part.right:
                found = part.found
                part_path.unlink()
                raise HashMismatchError(
                    f"{one.file.path} came damaged: its hash is {found[:16]}..., and the hub says "
                    f"{one.file.digest[:16]}...; it was removed.",
                    hint="Run it again. If it happens again, something between here and the hub changes what it sends.",
                    param=one.file.path,
                )
            part.sync()
            sha256 = part.sha256
        target.parent.mkdir(parents=True, exist_ok=True)
        self._filesystem.rename(part_path, target)
        return sha256

    def _complete(self, part: Part, fetch: Fetch) -> None:
        failures = 0
        while not part.whole:
            before = part.done_bytes
            try:
                fetch(part.file, part, before)
            except Interrupted as error:
                failures = 0 if part.done_bytes > before else failures + 1
                if failures >= len(WAITS_S):
                    raise
                self._pause(max(WAITS_S[failures], error.wait_s))
            except TooMuchError:
                if not before:
                    raise
                part.empty()  # a server that knows no ranges began anew, and the library did not see it
            else:
                if not part.whole:
                    raise UnavailableError(f"The hub sent less of {part.file.path} than it promised.")

    def _look_at_disk(self) -> None:
        """Stops before the disk is full: a board whose disk is full has other troubles than this one."""
        self._writes += 1
        if self._writes % LOOK_AT_DISK_EVERY == 1 and self._filesystem.free_bytes(self.folder) < self._margin_bytes:
            raise self._full()

    def _full(self) -> DiskFullError:
        return DiskFullError(
            f"The disk is filling up: less than {self._margin_bytes / 1e6:.0f} MB are left at {self.folder.parent}, so "
            f"the download was stopped; {self.present_bytes / 1e6:.0f} MB of it are kept.",
            hint=f"Make room (edge-agent models rm) and run it again: it goes on there. Or remove {self.folder}.",
        )

    def _forget_others(self) -> None:
        """Parts of files that are no longer asked for: the repository has a new commit."""
        mine = {self._part(one).name for one in self.wanted}
        for path in (self.folder / PARTS).iterdir():
            if path.name not in mine:
                path.unlink()

    def _part(self, one: Wanted) -> Path:
        return self.folder / PARTS / one.file.digest

    def _places(self, one: Wanted) -> tuple[Path, Path]:
        return self.folder / one.path, self._part(one)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except EdgeAgentError:
            raise
        except OSError as error:
            if error.errno in FULL:
                raise self._full() from error
            where = f" ({error.filename})" if error.filename is not None else ""
            raise StoreError(
                f"The download cannot be written: {error.strerror or error}{where}.",
                hint="Run as the user that the state folder belongs to, or choose another with --state-dir.",
            ) from error


def folder_for(downloads: Path, label: str, wanted: Sequence[Wanted]) -> Path:
    """Where these files of a repository are brought: the same folder each time, whatever the commit."""
    which = hashlib.sha256("\n".join(one.file.path for one in wanted).encode()).hexdigest()[:8]
    return downloads / f"{label.replace('/', '--')}-{which}"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second pull out of `folder`, creating it. Raises `UnavailableError` if one is at it, `StoreError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = hold_folder(folder)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be used: {error.strerror}.",
            hint="Run as the user that the state folder belongs to, or choose another with --state-dir.",
        ) from None
    if descriptor is None:
        raise UnavailableError("Another pull of the same files is running.", hint="Wait for it, or stop it.")
    try:
        yield
    finally:
        os.close(descriptor)


def sweep(downloads: Path, now: float) -> None:
    """Removes what pulls left that nobody went on with for two weeks and that are not running. `now` is Unix time."""
    with suppress(OSError):
        for folder in downloads.iterdir():
            newest = max((path.lstat().st_mtime for path in (folder, folder / PARTS) if path.is_dir()), default=now)
            newest = max([newest, *(path.lstat().st_mtime for path in folder.glob(f"{PARTS}/*"))])
            if now - newest < KEPT_S or (descriptor := hold_folder(folder)) is None:
                continue
            try:
                Filesystem().remove_tree(folder)
            finally:
                os.close(descriptor)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return 0


def _hashed(path: Path, file: RemoteFile) -> Digest:
    digest = Digest(file)
    with opened(path) as descriptor:
        while block := os.read(descriptor, 1024 * 1024):
            digest.update(block)
    return digest
