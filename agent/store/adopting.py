"""Folders that are filled inside the store's own file system and then become a version by one rename: no second copy.

models/.incoming/<key>/     being filled, and verified, by whoever made it; no sweep touches it

Whoever fills one is the only one who does: an update keeps its folder over restarts, and removes it when it is over.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from agent.errors import ArtifactError, DiskFullError, StoreError
from agent.store.durable import Filesystem
from agent.store.faults import translated
from agent.store.importing import check_spelling
from agent.store.layout import Layout, StoredModel, is_folder
from agent.store.locks import exclusive
from agent.store.manifest import Manifest, read_manifest
from agent.store.names import MANIFEST_NAME, is_safe_name
from agent.store.plan import listing

BLOCK_BYTES: Final = 512
"""Of `st_blocks`, whatever the file system's own are (POSIX leaves it open; Linux and macOS mean this)."""


class Incoming:
    """The folders of `models/.incoming`, by key. Raises `StoreError`, besides what is said."""

    def __init__(self, filesystem: Filesystem, layout: Layout, *, margin_bytes: int, lock_timeout_s: float) -> None:
        self._filesystem = filesystem
        self._layout = layout
        self._margin_bytes = margin_bytes
        self._lock_timeout_s = lock_timeout_s

    def folder(self, key: str) -> Path:
        """Made where it is missing. `key` is a safe name."""
        if not is_safe_name(key):
            raise StoreError(f"{key[:100]!a} cannot name a folder.")
        with translated("making room for an update"):
            self._filesystem.make_folder(self._layout.incoming)
            folder = self._layout.incoming / key
            self._filesystem.make_folder(folder)
        return folder

    def keys(self) -> list[str]:
        root = self._layout.incoming
        return sorted(entry.name for entry in root.iterdir()) if is_folder(root) else []

    def remove(self, key: str) -> None:
        """With all that is in it; nothing happens where it is not there."""
        with translated("removing what an update left"):
            if key in self.keys():
                self._filesystem.remove_tree(self._layout.incoming / key)

    def check_room(self, key: str, total_bytes: int) -> None:
        """Raises `DiskFullError` with the arithmetic unless the folder can grow to `total_bytes`."""
        folder = self.folder(key)
        with translated("looking for room"):
            there_bytes = sum(path.lstat().st_blocks * BLOCK_BYTES for path in folder.rglob("*"))
            free_bytes = self._filesystem.free_bytes(folder)
        needed_bytes = max(0, total_bytes - there_bytes) + self._margin_bytes
        if free_bytes < needed_bytes:
            raise DiskFullError(
                f"The disk has {free_bytes / 1e6:,.1f} MB free; {needed_bytes / 1e6:,.1f} MB are needed,"
                f" {self._margin_bytes / 1e6:,.1f} MB of which stay free.",
                hint="Remove a version that is not needed (edge-agent models rm) or free space elsewhere.",
            )

    def adopt(self, key: str, name: str, version: str) -> StoredModel:
        """The folder becomes this version of the store, not active. Asked once more, it finds that it has.

        The files are believed to be what the manifest says; their sizes are compared. Raises `ArtifactError` for a
        folder that is not exactly this artifact, or whose version is in the store with other files, and
        `UnavailableError` (store locked).
        """
        folder = self._layout.incoming / key
        with translated(f"taking over {name} {version}"):
            if not is_folder(folder) and (present := self._layout.whole(name, version)) is not None:
                return present
            try:
                manifest = read_manifest(folder / MANIFEST_NAME)
            except FileNotFoundError:
                raise ArtifactError(f"{MANIFEST_NAME} of {name} {version} is not there.", param=MANIFEST_NAME) from None
            if (manifest.name, manifest.version) != (name, version):
                raise ArtifactError(f"{MANIFEST_NAME} is that of {manifest.name} {manifest.version}.", param="name")
            _check(folder, manifest)
            check_spelling(self._layout, name, version)
            with exclusive(self._layout.lock, timeout_s=self._lock_timeout_s):
                return self._rename(folder, manifest)

    def _rename(self, folder: Path, manifest: Manifest) -> StoredModel:
        name, version = manifest.name, manifest.version
        present = self._layout.whole(name, version)
        if present is None:
            self._filesystem.make_folder(self._layout.model(name))
            self._filesystem.rename(folder, self._layout.version(name, version))
        elif present.manifest != manifest:
            raise ArtifactError(
                f"Version {version} of {name} is already in the store and is something else.",
                hint="Publish it under another version.",
                param="version",
            )
        else:
            self._filesystem.remove_tree(folder)
        model = self._layout.whole(name, version)
        assert model is not None, "nobody else changes the store while its lock is held"
        return model


def _check(folder: Path, manifest: Manifest) -> None:
    for file in manifest.files:
        path = folder / file.path
        size = path.stat(follow_symlinks=False).st_size if os.path.lexists(path) else None
        if size != file.bytes or path.is_symlink():
            raise ArtifactError(
                f"{file.path} is not there as a file of {file.bytes} bytes, as the manifest says.", param=file.path
            )
    if extra := sorted(set(listing(folder)) - {MANIFEST_NAME} - {file.path for file in manifest.files}):
        raise ArtifactError(f"{extra[0][:200]!a} is not in the manifest.", param=extra[0])
