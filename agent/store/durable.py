"""File operations that survive a crash: write, fsync, rename, fsync the folder.

Every change to the disk is one named step, announced to `on_step` just before it is taken. That is the seam for tests:
they die or fail at each step in turn. After `kill -9` between two steps the files hold what the steps before it did;
after a power cut, what was done up to the last fsync.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 1024 * 1024
# Flushing as we go keeps dirty pages few on a small board, and keeps a progress bar honest about a slow SD card.
FLUSH_EVERY_BYTES: Final = 64 * 1024 * 1024
_FICLONE: Final = 0x40049409  # linux/fs.h, FICLONE: share the blocks of another file (btrfs, XFS)

Step = Callable[[str], None]
Blocks = Callable[[int], None]


class Filesystem:
    """The operations the store is built of. Each raises `OSError`; each leaves its step done or not done."""

    def __init__(
        self, on_step: Step | None = None, *, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    ) -> None:
        self._on_step = on_step
        self._statvfs = statvfs

    def step(self, name: str) -> None:
        if self._on_step is not None:
            self._on_step(name)

    def free_bytes(self, folder: Path) -> int:
        """Bytes that an unprivileged process can still write on the file system of `folder`."""
        status = self._statvfs(folder)
        return status.f_bavail * status.f_frsize

    def make_folder(self, path: Path) -> None:
        """Creates a folder durably; nothing happens where it is already there. The parent must exist."""
        if path.is_dir():
            return
        self.step(f"mkdir {path.name}")
        path.mkdir(mode=0o755, exist_ok=True)
        self.sync_folder(path.parent)

    def write_new(self, path: Path, data: bytes) -> None:
        """Creates a file with `data` and syncs it; its name is durable once the folder is synced."""
        self.step(f"create {path.name}")
        with path.open("xb", buffering=0) as file:
            self.step(f"write {path.name}")
            _write_all(file.fileno(), data)
            self.step(f"fsync {path.name}")
            _fsync(file.fileno())

    def replace_file(self, path: Path, data: bytes, *, temporary: Path) -> None:
        """`path` holds `data` or what it held before, never less. `temporary` is on the same file system."""
        with _removed_on_failure(temporary):
            self.write_new(temporary, data)
            self.rename(temporary, path)

    def replace_link(self, path: Path, target: str, *, temporary: Path) -> None:
        """`path` becomes a symbolic link to `target`, atomically, whatever it pointed to before."""
        with _removed_on_failure(temporary):
            self.step(f"symlink {path.name}")
            temporary.symlink_to(target)
            self.rename(temporary, path)

    def rename(self, source: Path, target: Path) -> None:
        """Renames atomically and syncs both folders."""
        self.step(f"rename to {target.name}")
        source.rename(target)
        self.sync_folder(target.parent)
        if source.parent != target.parent:
            self.sync_folder(source.parent)

    def unlink(self, path: Path) -> None:
        self.step(f"unlink {path.name}")
        path.unlink(missing_ok=True)
        self.sync_folder(path.parent)

    def remove_tree(self, path: Path) -> None:
        """Deletes a folder (or a file) and all in it, following no link; another process may be doing the same."""
        self.step(f"remove {path.name}")
        if path.is_dir() and not path.is_symlink():
            while os.path.lexists(path):
                with suppress(FileNotFoundError):
                    shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        self.step(f"fsync folder {path.name}")
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a folder
                raise
        finally:
            os.close(descriptor)

    def sync_file(self, path: Path) -> None:
        """What was written to the file, by whom ever, is on the disk."""
        self.step(f"fsync {path.name}")
        with opened(path) as descriptor:
            _fsync(descriptor)

    def clone(self, source: Path, target: Path) -> bool:
        """Creates `target` sharing the blocks of `source`, where the file system can; False where it cannot."""
        if sys.platform != "linux":
            return False
        with opened(source) as reading:
            self.step(f"clone {target.name}")
            writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                fcntl.ioctl(writing, _FICLONE, reading)
                _fsync(writing)
            except OSError:
                target.unlink()
                return False
            finally:
                os.close(writing)
        return True

    def link(self, source: Path, target: Path) -> None:
        """Creates `target` as another name of the file `source`. Raises `OSError` (EXDEV, EPERM, ...) if it cannot."""
        self.step(f"link {target.name}")
        os.link(source, target)
        with opened(target) as descriptor:
            _fsync(descriptor)

    def copy(self, source: Path, target: Path, *, limit_bytes: int, on_bytes: Blocks) -> tuple[int, str]:
        """Copies at most `limit_bytes` + 1 bytes into the new file `target`, synced. Returns (bytes, SHA-256 in hex).

        Memory stays at one block. A count above `limit_bytes` means that the source is longer.
        """
        digest = hashlib.sha256()
        done = flushed = 0
        with opened(source) as reading:
            self.step(f"create {target.name}")
            with target.open("xb", buffering=0) as file:
                for block in _blocks(reading, limit_bytes + 1):
                    digest.update(block)
                    self.step(f"write {target.name}")
                    _write_all(file.fileno(), block)
                    done += len(block)
                    if done - flushed >= FLUSH_EVERY_BYTES:
                        os.fsync(file.fileno())
                        flushed = done
                    on_bytes(len(block))
                self.step(f"fsync {target.name}")
                _fsync(file.fileno())
        return done, digest.hexdigest()


def hash_file(path: Path, *, limit_bytes: int, on_bytes: Blocks) -> tuple[int, str]:
    """(bytes, SHA-256 in hex) of a regular file, reading at most `limit_bytes` + 1. Raises `OSError`."""
    digest = hashlib.sha256()
    done = 0
    with opened(path) as descriptor:
        for block in _blocks(descriptor, limit_bytes + 1):
            digest.update(block)
            done += len(block)
            on_bytes(len(block))
    return done, digest.hexdigest()


def read_start(path: Path, limit_bytes: int) -> bytes:
    """The first `limit_bytes` of a regular file, or less. Raises `OSError`."""
    with opened(path) as descriptor:
        return b"".join(bytes(block) for block in _blocks(descriptor, limit_bytes))


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a regular file for reading; never hangs on a pipe. Raises `OSError` (EINVAL if not regular)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not _is_regular(descriptor):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _blocks(descriptor: int, limit_bytes: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(BLOCK_BYTES))
    left = limit_bytes
    while left > 0:
        count = os.readv(descriptor, [buffer[: min(left, BLOCK_BYTES)]])
        if count == 0:
            return
        left -= count
        yield buffer[:count]


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _fsync(descriptor: int) -> None:
    if sys.platform == "darwin":  # fsync there stops at the drive's cache
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:
            pass
    os.fsync(descriptor)
