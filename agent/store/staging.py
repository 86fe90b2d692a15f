"""Bringing the files of an import into a folder of their own, out of sight until all of them are whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from agent.errors import ArtifactError, DiskFullError, HashMismatchError
from agent.store.durable import Filesystem, hash_file
from agent.store.manifest import ArtifactFile
from agent.store.names import path_fault
from agent.store.plan import ImportPlan, SourceFile

Transfer = Literal["copy", "link", "move"]
Progress = Callable[[int, int], None]


class Tally:
    """Adds up bytes and tells `progress(bytes_done, bytes_total)`."""

    def __init__(self, progress: Progress | None, total_bytes: int) -> None:
        self._progress = progress
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def add(self, count: int) -> None:
        self._done_bytes += count
        if self._progress is not None:
            self._progress(self._done_bytes, self._total_bytes)


def bring(
    filesystem: Filesystem, plan: ImportPlan, folder: Path, *, transfer: Transfer, margin_bytes: int, tally: Tally
) -> tuple[ArtifactFile, ...]:
    """Puts every file of `plan` into `folder` (empty, locked by us), synced, and returns what is there.

    Files that take no new space are linked or cloned first; then the space for the others is checked against what is
    free less `margin_bytes`. Raises `DiskFullError`, `HashMismatchError`, `ArtifactError`, `OSError`.
    """
    folders = [folder]
    shared: set[str] = set()
    for file in plan.files:
        for part in reversed((folder / file.path).relative_to(folder).parents[:-1]):
            if folder / part not in folders:
                filesystem.make_folder(folder / part)
                folders.append(folder / part)
        if _share(filesystem, file, folder / file.path, transfer):
            shared.add(file.path)
    copied = [file for file in plan.files if file.path not in shared]
    check_space(filesystem, folder, sum(file.bytes for file in copied), margin_bytes, plan.draft.name)
    brought = tuple(_bring(filesystem, file, folder / file.path, file.path in shared, tally) for file in plan.files)
    for parent in reversed(folders):
        filesystem.sync_folder(parent)
    return brought


def check_space(filesystem: Filesystem, folder: Path, needed_bytes: int, margin_bytes: int, name: str) -> None:
    """Raises `DiskFullError` with both numbers unless `needed_bytes` fit and `margin_bytes` stay free."""
    free_bytes = filesystem.free_bytes(folder)
    if needed_bytes and needed_bytes + margin_bytes > free_bytes:
        raise DiskFullError(
            f"Importing {name} needs {_megabytes(needed_bytes)} of disk space and {_megabytes(margin_bytes)} are kept "
            f"free, but only {_megabytes(free_bytes)} are free at {folder.parent.parent}.",
            hint="Remove a version that is not needed (edge-agent models rm), or import with --link or --move "
            "from the same file system.",
        )


def hash_sources(plan: ImportPlan, tally: Tally) -> tuple[ArtifactFile, ...]:
    """What the files of `plan` would be in the store, found by reading only. Raises as `bring` does."""
    hashed = []
    for file in plan.files:
        done, sha256 = hash_file(file.source, limit_bytes=file.bytes, on_bytes=tally.add)
        hashed.append(_checked(file, done, sha256))
    return tuple(hashed)


def _share(filesystem: Filesystem, file: SourceFile, target: Path, transfer: Transfer) -> bool:
    if fault := path_fault(file.path):
        raise ArtifactError(f"{file.path[:200]!a} {fault}.", param="path")
    if transfer == "copy":
        return filesystem.clone(file.source, target)
    try:
        filesystem.link(file.source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            raise
        if transfer == "link":
            raise ArtifactError(
                f"{file.source} cannot be linked into the store: {os.strerror(error.errno)}.",
                hint="Linking needs the same file system and the right to it; import without --link to copy.",
            ) from None
        return filesystem.clone(file.source, target)
    return True


def _bring(filesystem: Filesystem, file: SourceFile, target: Path, is_shared: bool, tally: Tally) -> ArtifactFile:
    if is_shared:
        done, sha256 = hash_file(target, limit_bytes=file.bytes, on_bytes=tally.add)
    else:
        done, sha256 = filesystem.copy(file.source, target, limit_bytes=file.bytes, on_bytes=tally.add)
    return _checked(file, done, sha256)


def _checked(file: SourceFile, done_bytes: int, sha256: str) -> ArtifactFile:
    if file.sha256 is not None and (done_bytes, sha256) != (file.bytes, file.sha256):
        raise HashMismatchError(
            f"{file.path} has the SHA-256 {sha256}; the manifest says {file.sha256}.",
            hint="The artifact is damaged or was changed: get it again.",
            param=file.path,
        )
    if done_bytes != file.bytes:
        raise ArtifactError(f"{file.source} changed while it was being imported.", hint="Import it again.")
    return ArtifactFile(path=file.path, bytes=done_bytes, sha256=sha256)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB ({count} bytes)"
