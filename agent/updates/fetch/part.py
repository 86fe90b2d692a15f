"""A file that comes in pieces: the data, and beside it a bit for each chunk that is there.

    NAME.part     the file's whole size from the beginning, its room on the disk taken
    NAME.bits     magic, the boot it was last written in, the file's hash, the number of chunks; a bit for each chunk

A chunk is written, then its bit. Killed in between, the process fetches that one chunk again: the page cache outlives
it. A power cut may take any of the two, in any order: after another boot every chunk whose bit is set is read and
checked, so nothing depends on the order in which a disk writes; syncing now and then only bounds what is lost.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

from agent.errors import DiskFullError
from agent.store.durable import Filesystem
from agent.updates.fetch.faults import disk_fault
from agent.updates.fetch.transport import Wanted

SYNC_BYTES: Final = 32 * 1024 * 1024
"""Written between two syncs: what a power cut costs, and how much the system has to write at once."""
SPARE_BYTES: Final = 64_000_000
"""Stays free: a device whose disk is full cannot even say so."""

_HEAD: Final = struct.Struct("<8s36s32sI")
_MAGIC: Final = b"EDGPART1"
_READ_BYTES: Final = 256 * 1024


def boot_id() -> str:
    """What is another after each boot; where the system does not say, after each call."""
    try:
        return str(uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()))
    except (OSError, ValueError):
        return str(uuid.uuid4())


class PartialFile:
    """The file that becomes `target`, of `size_bytes` in `count` chunks. `folder` is on the same file system.

    Every method raises `StoreError` for what the disk does not do, `DiskFullError` where it is full.
    """

    def __init__(
        self,
        target: Path,
        folder: Path,
        *,
        size_bytes: int,
        sha256: str,
        count: int,
        boot: str,
        files: Filesystem | None = None,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self.target = target
        self.size_bytes = size_bytes
        self.sha256 = sha256
        self._count = count
        self._files = files or Filesystem()
        self._spare_bytes = spare_bytes
        self._part = folder / f"{sha256}.part"
        self._bits = folder / f"{sha256}.bits"
        self._head = _HEAD.pack(_MAGIC, boot.encode(), bytes.fromhex(sha256), count)
        self._map = bytearray((count + 7) // 8)
        self._unsynced_bytes = 0
        self.believed = False
        """Whether what the bits say was written by this boot, and can be taken as it is."""
        self._data = self._journal = -1
        with self._disk("preparing"):
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for descriptor in (self._data, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._data = self._journal = -1

    def __contains__(self, number: int) -> bool:
        """Whether a chunk is there."""
        return bool(self._map[number >> 3] & 1 << (number & 7))

    def put(self, chunk: Wanted, data: bytes | memoryview) -> None:
        """Writes a chunk whose hash was checked, and remembers it."""
        with self._disk("writing"):
            rest, at = memoryview(data), chunk.offset
            while rest:
                written = os.pwrite(self._data, rest, at)
                rest, at = rest[written:], at + written
            self._set(chunk.number, True)
            self._unsynced_bytes += chunk.length
            if self._unsynced_bytes >= SYNC_BYTES:
                self._sync()

    def check(self, chunks: Iterable[Wanted], on_bytes: Callable[[int], object] = lambda count: None) -> int:
        """Reads every chunk that is said to be there, and forgets those that are not as listed; returns how many."""
        lost = 0
        with self._disk("checking"):
            for chunk in chunks:
                if chunk.number not in self:
                    continue
                if hashlib.sha256(os.pread(self._data, chunk.length, chunk.offset)).digest() != chunk.sha256:
                    self._set(chunk.number, False)
                    lost += 1
                on_bytes(chunk.length)
            os.pwrite(self._journal, self._head, 0)  # from here on, this boot's word
            self.believed = True
        return lost

    def sha256_of_all(self, on_bytes: Callable[[int], object] = lambda count: None) -> str:
        """The hash of the whole file as the disk has it."""
        with self._disk("reading"):
            self._sync()
            digest, at, buffer = hashlib.sha256(), 0, memoryview(bytearray(_READ_BYTES))
            while at < self.size_bytes and (count := os.preadv(self._data, [buffer], at)):
                digest.update(buffer[:count])
                at += count
                on_bytes(count)
        return digest.hexdigest()

    def finish(self) -> None:
        """The whole file, whose hash was checked, gets its name, durably."""
        with self._disk("finishing"):
            self._sync()
            self._files.rename(self._part, self.target)
            self._files.unlink(self._bits)

    def discard(self) -> None:
        with self._disk("deleting"):
            self._part.unlink(missing_ok=True)
            self._bits.unlink(missing_ok=True)

    def _open(self) -> None:
        known = self._read_bits()
        if not known:
            self._bits.unlink(missing_ok=True)
        self._data = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._take_room()
        self._journal = os.open(self._bits, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not known:
            self._map = bytearray(len(self._map))
            os.ftruncate(self._journal, 0)
            self._files.step(f"write {self._bits.name}")
            os.pwrite(self._journal, self._head + self._map, 0)
            self.believed = True
            self._files.sync_folder(self._bits.parent)

    def _read_bits(self) -> bool:
        """Whether there is a partial file of this one; takes over its bits."""
        try:
            found = self._bits.read_bytes()
            if self._part.stat().st_size != self.size_bytes or len(found) != len(self._head) + len(self._map):
                return False
        except FileNotFoundError:
            return False
        magic, boot, digest, count = _HEAD.unpack_from(found)
        _, own_boot, own_digest, own_count = _HEAD.unpack(self._head)
        if (magic, digest, count) != (_MAGIC, own_digest, own_count):
            return False
        self._map[:] = found[_HEAD.size :]
        self.believed = boot == own_boot
        return True

    def _take_room(self) -> None:
        status = os.fstat(self._data)
        needed_bytes = self.size_bytes - min(status.st_blocks * 512, self.size_bytes)
        if needed_bytes == 0 and status.st_size == self.size_bytes:
            return
        free_bytes = self._files.free_bytes(self._part.parent)
        if needed_bytes + self._spare_bytes > free_bytes:
            if status.st_size == 0:
                self._part.unlink(missing_ok=True)
            raise DiskFullError(
                f"{self.target.name} needs {needed_bytes / 1e6:,.0f} MB more, {self._spare_bytes / 1e6:,.0f} MB have to"
                f" stay free, and {self._part.parent} has {free_bytes / 1e6:,.0f} MB.",
                hint="Make room: edge-agent models rm NAME@VERSION deletes versions that are not needed.",
            )
        self._files.step(f"allocate {self._part.name}")
        os.ftruncate(self._data, self.size_bytes)
        if sys.platform == "linux" and self.size_bytes:
            try:
                os.posix_fallocate(self._data, 0, self.size_bytes)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
                    raise

    def _set(self, number: int, there: bool) -> None:
        byte, bit = number >> 3, 1 << (number & 7)
        self._map[byte] = self._map[byte] | bit if there else self._map[byte] & ~bit
        os.pwrite(self._journal, self._map[byte : byte + 1], _HEAD.size + byte)

    def _sync(self) -> None:
        self._files.step(f"fsync {self._part.name}")
        os.fsync(self._data)
        os.fsync(self._journal)
        if hasattr(os, "posix_fadvise"):  # the pages of the running model are worth more
            os.posix_fadvise(self._data, 0, 0, os.POSIX_FADV_DONTNEED)
        self._unsynced_bytes = 0

    @contextlib.contextmanager
    def _disk(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk_fault(error, f"{doing} {self.target.name}", self._part.parent) from error
