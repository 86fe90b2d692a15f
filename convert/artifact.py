"""Outputs that are there whole or not at all: an artifact folder, or a single file.

They are made beside the target, under a hidden name, and renamed at the end. An exception, Ctrl-C included, removes
what was made; what a killed run left is removed by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from agent.errors import ArtifactError, DiskFullError
from agent.store.durable import Filesystem
from agent.store.manifest import ArtifactFile, Manifest, check_manifest, encode_manifest

MANIFEST: Final = "manifest.json"
MARGIN_BYTES: Final = 16 * 1024 * 1024
"""Kept free beyond what is asked for: a full disk hurts more than this conversion."""


class StagedArtifact:
    """An artifact folder in the making. Write into `folder`, then `finish` once."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.folder = folder
        self.target = target

    def copy(self, source: Path, name: str) -> Path:
        """A copy of the file `source` as `name`, which may have folders in it."""
        copied = self.folder / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copied)
        return copied

    def finish(self, **fields: Any) -> Manifest:
        """Hash all files, write the manifest with `fields` (those of `Manifest`, without `files`), rename into place.

        Raises `ArtifactError` for fields that no manifest may have.
        """
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name != MANIFEST)
        files = tuple(_described(path, path.relative_to(self.folder).as_posix()) for path in paths)
        manifest = Manifest(files=files, **fields)
        check_manifest(manifest)
        disk = Filesystem()
        for path in paths:
            disk.sync_file(path)
        disk.write_new(self.folder / MANIFEST, encode_manifest(manifest))
        for folder in [path for path in self.folder.rglob("*") if path.is_dir()]:
            disk.sync_folder(folder)
        disk.sync_folder(self.folder)
        _claim(self.folder, self.target)
        return manifest


@contextmanager
def new_artifact(target: Path, needed_bytes: int = 0) -> Iterator[StagedArtifact]:
    """A folder that becomes `target` when `finish` is called, and is gone when it is not.

    Raises `ArtifactError` where `target` exists or its parent is no folder, or another conversion is making it;
    `DiskFullError` where less than `needed_bytes` are free, or the disk fills up meanwhile.
    """
    with _staged(target, needed_bytes) as part:
        part.mkdir()
        yield StagedArtifact(part, target)


@contextmanager
def whole_file(target: Path, needed_bytes: int = 0) -> Iterator[Path]:
    """A path to write; the file becomes `target` when the block ends, and is removed when it fails. Raises likewise."""
    with _staged(target, needed_bytes) as part:
        part.mkdir()
        file = part / target.name
        yield file
        Filesystem().sync_file(file)
        _claim(file, target)


@contextmanager
def _staged(target: Path, needed_bytes: int) -> Iterator[Path]:
    target = Path(os.path.abspath(target))  # noqa: PTH100  resolve() would follow a link that is there already
    refuse_existing(target)
    if not target.parent.is_dir():
        raise ArtifactError(f"{target.parent} is not a folder.", hint="Make it first, or choose another place.")
    part = target.with_name(f".{target.name}.part")
    lock_path = target.with_name(f".{target.name}.lock")
    with _translated(target):
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _same_file(lock, lock_path):  # who held it has just removed it, and another may have made it anew
                raise BlockingIOError
        except BlockingIOError:
            raise ArtifactError(f"Another conversion is making {target}.", hint="Wait for it to end.") from None
        try:
            shutil.rmtree(part, ignore_errors=True)
            refuse_existing(target)
            _check_space(target.parent, needed_bytes)
            with _translated(target):
                yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)
            lock_path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def refuse_existing(target: Path) -> None:
    """Raises `ArtifactError` where something is, a broken link too."""
    if os.path.lexists(target):
        raise ArtifactError(f"{target} exists already.", hint="Choose another place with --out, or remove it first.")


def _claim(made: Path, target: Path) -> None:
    # A file would be replaced by the rename; a folder would not, unless it is empty.
    refuse_existing(target)
    Filesystem().rename(made, target)


def _check_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = Filesystem().free_bytes(folder)
    wanted_bytes = needed_bytes + MARGIN_BYTES
    if free_bytes < wanted_bytes:
        raise DiskFullError(
            f"{folder} has {free_bytes / 1e6:.0f} MB free, and {wanted_bytes / 1e6:.0f} MB are needed.",
            hint="Make room, or choose another place with --out.",
        )


@contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"The disk filled up while {target.name} was written; nothing of it was left behind.",
                hint="Make room, or choose another place with --out.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ArtifactError(f"{error.filename or target} cannot be written: {error.strerror}.") from error
        raise


def _described(path: Path, name: str) -> ArtifactFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ArtifactFile(path=name, bytes=path.stat().st_size, sha256=digest)
