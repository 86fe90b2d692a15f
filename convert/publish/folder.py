"""The folder of a repository: where its files are, and one process at a time that changes them.

DIR/
  metadata/                     N.root.json, N.targets.json, N.CLASS.json, N.targets~NAME.json, N.CLASS~NAME.json,
                                N.snapshot.json, timestamp.json
  targets/models/NAME/...       SHA256.FILE, for every file of every version
  targets/classes/CLASS/...     the same for the devices of a class
  .staged/                      metadata that waits for signatures, or is just being put into place
  .lock
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from agent.errors import ArtifactError, DiskFullError
from agent.store.durable import Filesystem, Step
from convert.publish.roles import ROOT, TIMESTAMP

_VERSIONED: Final = re.compile(r"([1-9][0-9]*)\.(.+)\.json")
_HASHED: Final = re.compile(r"\.?[0-9a-f]{64}\..+")
PART: Final = ".part"


@dataclass(frozen=True)
class RepositoryFolder:
    """Paths below `path`, and changes to them; `on_step` is told before each, as `Filesystem` does."""

    path: Path
    on_step: Step | None = None

    @property
    def disk(self) -> Filesystem:
        return Filesystem(self.on_step)

    @property
    def metadata(self) -> Path:
        return self.path / "metadata"

    @property
    def targets(self) -> Path:
        return self.path / "targets"

    @property
    def staged(self) -> Path:
        return self.path / ".staged"

    def metadata_path(self, role: str, version: int) -> Path:
        name = f"{quote(role, '')}.json"
        return self.metadata / (name if role == TIMESTAMP else f"{version}.{name}")

    def target_path(self, target: str, sha256: str) -> Path:
        """The file of a target, named as TUF's consistent snapshots ask."""
        folder, slash, name = target.rpartition("/")
        return self.targets / f"{folder}{slash}{sha256}.{name}"

    def root_versions(self) -> list[int]:
        return sorted(int(found[1]) for found in self._versioned() if found[2] == ROOT)

    def _versioned(self) -> Iterator[re.Match[str]]:
        if self.metadata.is_dir():
            for path in self.metadata.iterdir():
                if found := _VERSIONED.fullmatch(path.name):
                    yield found

    def write(self, path: Path, data: bytes) -> None:
        """`path` holds `data`, or what it held before."""
        part = path.with_name(f".{path.name}{PART}")
        part.unlink(missing_ok=True)
        self.disk.replace_file(path, data, temporary=part)

    def make_folders(self, path: Path) -> None:
        """`path` and those above it, durably."""
        for folder in [*reversed(path.relative_to(self.path).parents), path.relative_to(self.path)]:
            self.disk.make_folder(self.path / folder)

    def sweep(self, metadata: Iterable[Path], targets: Iterable[Path]) -> None:
        """Remove the metadata (roots excepted) and the files of targets that are none of these."""
        wanted = {*metadata, *targets}
        for found in list(self._versioned()):
            path = self.metadata / found[0]
            if found[2] != ROOT and path not in wanted:
                self.disk.unlink(path)
        for folder, _, names in os.walk(self.targets, topdown=False):
            for name in names:
                path = Path(folder, name)
                if path not in wanted and _HASHED.fullmatch(name):
                    self.disk.unlink(path)
            if Path(folder) != self.targets and not any(Path(folder).iterdir()):
                Path(folder).rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the repository meanwhile. Raises `ArtifactError` where someone does, and `DiskFullError`
        for the error of a disk that becomes full meanwhile."""
        if not self.path.is_dir():
            raise no_repository(self.path)
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    reason = f"Another command is changing {self.path}."
                    raise ArtifactError(reason, hint="Wait for it to end.") from None
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            if not is_full(error):
                raise
            raise DiskFullError(
                f"The disk became full while {self.path} was changed. Devices see it as it was, or whole as it is to"
                " be.",
                hint="Make room and give the command again.",
            ) from error


def is_full(error: OSError) -> bool:
    """Whether a disk, or the share of it that somebody may use, has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def no_repository(path: Path) -> ArtifactError:
    return ArtifactError(f"{path} is no repository.", hint=f"Make one with edge-convert keys create --repo {path}.")
