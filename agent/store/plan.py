"""What an import will bring into the store, decided before a byte is copied."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ArtifactError
from agent.store.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to bring: from `source` to `path` below the version's folder.

    `given` is the path it was asked for by, which may be a symbolic link to `source`. `bytes` is the size it must
    have; `sha256` is the hash it must have, None where it is taken as it comes.
    """

    source: Path
    given: Path
    path: str
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """A file of the imported folder that stays outside, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ImportPlan:
    """`draft` lacks `files` (and `version`, if ""), unless `manifest_bytes` holds the author's own manifest, which is
    kept byte for byte because someone may have signed it.
    """

    draft: Manifest
    files: tuple[SourceFile, ...]
    manifest_bytes: bytes | None = None
    ignored: tuple[Ignored, ...] = ()
    folder: Path | None = None

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def source_file(given: Path, path: str) -> SourceFile:
    """A file as it is now, taken as it comes. Raises `ArtifactError` if it is missing or not a regular file."""
    source = real_path(given)
    status = source.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{given} is not a regular file.")
    return SourceFile(source=source, given=given, path=path, bytes=status.st_size)


def real_path(path: Path) -> Path:
    """`path` without symbolic links. Raises `ArtifactError` if it is missing or cannot be reached."""
    try:
        return path.resolve(strict=True)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None
    except (RuntimeError, ValueError) as error:  # a loop of links before Python 3.13; a NUL
        raise ArtifactError(f"{str(path)!a} cannot be read: {error}.") from None


def inside(folder: Path, path: str) -> Path:
    """`path` of an artifact in `folder` (a real path), found to be there.

    Raises `ArtifactError` if it is missing, or a symbolic link leads out of the folder.
    """
    if not real_path(folder / path).is_relative_to(folder):
        raise ArtifactError(
            f"{path} is a symbolic link that leads out of {folder}.",
            hint="Copy the files themselves into the folder first (cp -rL, or hf download --local-dir).",
        )
    return folder / path


def listing(folder: Path) -> list[str]:
    """Relative paths of everything in `folder` that is not a folder, sorted; hidden folders are not entered."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in [*files, *links]]
    return sorted(found)
