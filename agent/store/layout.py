"""Where things are in the store's folder, and reading them: nothing in this file changes the disk.

models/
  .lock                       flock: one process changes the store at a time
  .staging/<unique>/          an import under way, flock held by its process
  .incoming/<key>/            an update that is being fetched; kept over restarts
  .trash/<unique>             removed, about to be deleted
  <name>/<version>/           manifest.json and the files it lists
  <name>/current              symbolic link to the active version
  <name>/.history/<version>   JSON: what was active before that version was, oldest first
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import ArtifactError, StoreError
from agent.store.manifest import Manifest, read_manifest
from agent.store.names import MANIFEST_NAME, is_safe_name, is_safe_version

_SECOND_LOOKS: Final = 2
_history_decoder = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A version on disk that has all its files. `path` is its folder; `created` is when it was imported (Unix time)."""

    name: str
    version: str
    path: Path
    active: bool
    created: int
    manifest: Manifest

    @property
    def main_path(self) -> Path:
        """The file an engine opens first: the (first) GGUF, or the (first) ONNX graph."""
        return self.path / self.manifest.main_file

    @property
    def total_bytes(self) -> int:
        return self.manifest.total_bytes


@dataclass(frozen=True, kw_only=True)
class BrokenVersion:
    """A version on disk that cannot be used; `reason` is one sentence for a person."""

    name: str
    version: str
    path: Path
    active: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Paths below the store's root, and what is there."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def staging(self) -> Path:
        return self.root / ".staging"

    @property
    def incoming(self) -> Path:
        return self.root / ".incoming"

    @property
    def trash(self) -> Path:
        return self.root / ".trash"

    def temporary(self, stem: str) -> Path:
        """An unused path in the staging folder. What is there and not locked is swept at the next open."""
        return self.staging / f"{stem}-{uuid.uuid4().hex}"

    def discarded(self, stem: str) -> Path:
        """An unused path in the trash folder."""
        return self.trash / f"{stem}-{uuid.uuid4().hex}"

    def model(self, name: str) -> Path:
        return self.root / name

    def version(self, name: str, version: str) -> Path:
        return self.root / name / version

    def current(self, name: str) -> Path:
        return self.root / name / "current"

    def history_folder(self, name: str) -> Path:
        return self.root / name / ".history"

    def names(self) -> list[str]:
        """Names of the models, sorted. A folder with an unsafe name is not a model's."""
        return sorted(entry.name for entry in _folders(self.root) if is_safe_name(entry.name))

    def versions(self, name: str) -> list[str]:
        """Versions of a model, sorted: whole numbers by value, then the others; empty if there is no such model."""
        found = (entry.name for entry in _folders(self.model(name)) if is_safe_version(entry.name))
        return sorted(found, key=lambda version: (not version.isdecimal(), len(version) * version.isdecimal(), version))

    def active_version(self, name: str) -> str | None:
        """What `current` points to, if that is a version that is there."""
        try:
            target = str(self.current(name).readlink())
        except OSError:
            return None
        return target if is_safe_version(target) and is_folder(self.version(name, target)) else None

    def history(self, name: str, version: str) -> list[str]:
        """Versions that were active before `version` was, oldest first; only those that are still there."""
        try:
            recorded = _history_decoder.decode((self.history_folder(name) / version).read_bytes())
        except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return []
        return [old for old in recorded if is_safe_version(old) and is_folder(self.version(name, old))]

    def look(self, name: str, version: str) -> StoredModel | BrokenVersion | None:
        """One version: whole as far as sizes tell, or broken and why; None when it is not there."""
        found = self._look_once(name, version)
        for _ in range(_SECOND_LOOKS):  # removed, and imported again, while we looked
            if not isinstance(found, BrokenVersion):
                break
            found = self._look_once(name, version)
        return found

    def _look_once(self, name: str, version: str) -> StoredModel | BrokenVersion | None:
        path = self.version(name, version)
        active = self.active_version(name) == version
        try:
            manifest = read_manifest(path / MANIFEST_NAME)
            created = int((path / MANIFEST_NAME).stat().st_mtime)
            reason = _fault(path, name, version, manifest)
        except ArtifactError as error:
            reason = error.message
        except OSError as error:
            reason = f"{MANIFEST_NAME}: {error.strerror}."
        if reason is None:
            return StoredModel(name=name, version=version, path=path, active=active, created=created, manifest=manifest)
        if not is_folder(path):
            return None
        return BrokenVersion(name=name, version=version, path=path, active=active, reason=reason)

    def whole(self, name: str, version: str) -> StoredModel | None:
        """One version, None when it is not there. Raises `StoreError` when it is broken."""
        found = self.look(name, version)
        if isinstance(found, BrokenVersion):
            raise StoreError(
                f"Version {version} of {name} is broken on disk: {found.reason}",
                hint=f"Remove it (edge-agent models rm {name} --version {version} --force) and import it again.",
            )
        return found


def is_folder(path: Path) -> bool:
    """Whether `path` is a real folder, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _folders(path: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return


def _fault(path: Path, name: str, version: str, manifest: Manifest) -> str | None:
    if (manifest.name, manifest.version) != (name, version):
        return f"{MANIFEST_NAME} is that of {manifest.name} {manifest.version}."
    for file in manifest.files:
        try:
            status = (path / file.path).lstat()
        except OSError as error:
            return f"{file.path}: {error.strerror}."
        if not stat.S_ISREG(status.st_mode):
            return f"{file.path} is not a regular file."
        if status.st_size != file.bytes:
            return f"{file.path} has {status.st_size} bytes; the manifest says {file.bytes}."
    return None
