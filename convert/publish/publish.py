"""Publishing an artifact: its files and their chunk indices become targets of its model's list, signed in one go."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import TargetFile, Targets

from agent.chunks.cutting import cut
from agent.chunks.index import ChunkIndex
from agent.errors import ArtifactError, DiskFullError, HashMismatchError, RequestError
from agent.store.durable import Step, read_start
from agent.store.manifest import MANIFEST_LIMIT_BYTES, ArtifactFile, Manifest, decode_manifest
from agent.store.names import COMPONENT_LIMIT_BYTES, MANIFEST_NAME
from convert.publish.catalog import INDEX_SUFFIX, LATEST, entry, latest_json, releases, superfluous
from convert.publish.folder import PART, RepositoryFolder
from convert.publish.keys import KeyRing
from convert.publish.live import ORDER_FIELD, PUBLISHED_FIELD
from convert.publish.models import add_files, models_in, open_list, part_lists
from convert.publish.roles import TARGETS, check_class, scope
from convert.publish.session import Session, commit, opened, utc_now

MARGIN_BYTES = 16 * 1024 * 1024
OnBytes = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class Published:
    """`lacking` is empty once devices can see it; otherwise it is staged, and lacks this. `chunks` counts those of all
    files. `pruned` are the versions that went, `parted` the models that have a list of their own from now on."""

    name: str
    version: str
    device_class: str | None
    bytes: int
    chunks: int
    pruned: tuple[str, ...]
    parted: tuple[str, ...]
    lacking: tuple[str, ...]


def publish(
    artifact: Path,
    repository: Path,
    ring: KeyRing,
    *,
    device_class: str | None = None,
    keep: int | None = None,
    now: datetime | None = None,
    on_bytes: OnBytes = lambda count: None,
    on_step: Step | None = None,
) -> Published:
    """Publish an artifact folder as the latest version of its model, for all devices or those of a class.

    A version that is there already becomes the latest again, if it is the same; its files never change. Killed at any
    moment, it leaves the old repository or the new one. `keep` is how many versions stay, this one included.

    Raises `ArtifactError` for an artifact or a repository that cannot be used, `HashMismatchError` for files that are
    not as the manifest says, `DiskFullError`, `RequestError` for a class that is not there.
    """
    now = now or utc_now()
    if keep is not None and keep < 1:
        raise RequestError(f"--keep: expected 1 or more, got {keep}.")
    encoded_manifest, manifest = _manifest(artifact)
    with opened(repository, on_step) as session:
        role = _role(session, device_class)
        draft = session.draft()
        parted = part_lists(draft, role, now)
        targets = open_list(draft, role, manifest.name, now)
        base = f"{scope(device_class)}models/{manifest.name}"
        place = _Placing(session, on_bytes)
        place.check_space(artifact, manifest)
        placed = {f"{base}/{manifest.version}/{MANIFEST_NAME}": place.data(base, manifest, encoded_manifest)}
        for file in manifest.files:
            placed |= place.file(artifact / file.path, f"{base}/{manifest.version}/{file.path}", file)
        _check(targets, manifest, scope(device_class), placed, now)
        latest = place.latest(f"{base}/{LATEST}", manifest.version)
        add_files(draft, role, manifest.name, {**placed, latest.path: latest}, now)
        pruned = _prune(targets, manifest.name, scope(device_class), keep)
        for one in (role, *models_in(draft, role)):  # their keys are here
            if draft.past_half(one, now):
                draft.change(one, now)
        lacking = commit(session.folder, draft, ring, now)
    return Published(
        name=manifest.name,
        version=manifest.version,
        device_class=device_class,
        bytes=manifest.total_bytes,
        chunks=place.chunks,
        pruned=tuple(pruned),
        parted=tuple(parted),
        lacking=tuple(lacking),
    )


class _Placing:
    """Puts files below the repository's targets, where nothing refers to them yet."""

    def __init__(self, session: Session, on_bytes: OnBytes) -> None:
        self.folder: RepositoryFolder = session.folder
        self.chunks = 0
        self._on_bytes = on_bytes
        self._known = {file.hashes["sha256"]: file for file in session.live.target_files()}

    def check_space(self, artifact: Path, manifest: Manifest) -> None:
        needed = sum(file.bytes for file in manifest.files if file.sha256 not in self._known) + MARGIN_BYTES
        free = self.folder.disk.free_bytes(self.folder.path)
        if needed > free:
            raise DiskFullError(
                f"{self.folder.path} has {free / 1e6:.0f} MB free, and {needed / 1e6:.0f} MB are needed.",
                hint="Make room, or publish with --keep so that old versions go.",
            )

    def data(self, base: str, manifest: Manifest, data: bytes) -> TargetFile:
        return self._small(f"{base}/{manifest.version}/{MANIFEST_NAME}", data)

    def latest(self, target: str, version: str) -> TargetFile:
        file = self._small(target, latest_json(version))
        file.unrecognized_fields["custom"] = {"version": version}
        return file

    def file(self, source: Path, target: str, file: ArtifactFile) -> dict[str, TargetFile]:
        """The targets of a file and of its chunk index."""
        path = self._path(target, file.sha256)
        index = self._there(path, file)
        if index is None:
            part = path.with_name(f".{file.sha256}{PART}")
            part.unlink(missing_ok=True)
            self._bring(source, part, file)
            index = cut(part, self._on_bytes)
            if (index.bytes, index.sha256) != (file.bytes, file.sha256):
                part.unlink()
                raise HashMismatchError(f"{source} is not as {MANIFEST_NAME} says.", hint="Make the artifact again.")
            self.folder.disk.rename(part, path)
        self.chunks += len(index)
        listed = self._small(f"{target}{INDEX_SUFFIX}", index.encode())
        return {target: entry(target, file.bytes, file.sha256), listed.path: listed}

    def _there(self, path: Path, file: ArtifactFile) -> ChunkIndex | None:
        """The index of a file that is in its place already: published before, or by a command that was killed."""
        if not path.is_file() or path.stat().st_size != file.bytes:
            return None
        index = cut(path, self._on_bytes)
        return index if index.sha256 == file.sha256 else None

    def _bring(self, source: Path, part: Path, file: ArtifactFile) -> None:
        """Raises `HashMismatchError`, `OSError`."""
        known = self._known.get(file.sha256)
        if known is not None:
            with suppress(OSError):
                self.folder.disk.link(self.folder.target_path(known.path, file.sha256), part)
                return
        try:
            count, _ = self.folder.disk.copy(source, part, limit_bytes=file.bytes, on_bytes=lambda count: None)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        if count > file.bytes:
            part.unlink()
            raise HashMismatchError(f"{source} is longer than {MANIFEST_NAME} says.", hint="Make the artifact again.")

    def _small(self, target: str, data: bytes) -> TargetFile:
        file = TargetFile.from_data(target, data, ["sha256"])
        path = self._path(target, file.hashes["sha256"])
        if not path.is_file() or path.read_bytes() != data:
            self.folder.write(path, data)
        return file

    def _path(self, target: str, sha256: str) -> Path:
        path = self.folder.target_path(target, sha256)
        if len(os.fsencode(path.name)) + len(f".{INDEX_SUFFIX}{PART}") > COMPONENT_LIMIT_BYTES:
            raise ArtifactError(f"{target} has too long a file name to be published.", hint="Give it a shorter one.")
        self.folder.make_folders(path.parent)
        return path


def _manifest(artifact: Path) -> tuple[bytes, Manifest]:
    if not artifact.is_dir():
        raise ArtifactError(f"{artifact} is not the folder of an artifact.")
    try:
        data = read_start(artifact / MANIFEST_NAME, MANIFEST_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise ArtifactError(
            f"{artifact} has no {MANIFEST_NAME}.", hint="Make the artifact with edge-convert; docs/artifacts.md."
        ) from None
    manifest = decode_manifest(data)
    paths = {file.path for file in manifest.files}
    for path in paths:
        if path.endswith(INDEX_SUFFIX) and path.removesuffix(INDEX_SUFFIX) in {*paths, MANIFEST_NAME}:
            raise ArtifactError(f"{path} is what the chunk index of another file will be called.", hint="Rename it.")
    if manifest.version == LATEST:
        raise ArtifactError(f"{LATEST} cannot name a version.", param="version")
    return data, manifest


def _role(session: Session, device_class: str | None) -> str:
    if device_class is None:
        return TARGETS
    check_class(device_class)
    if device_class not in session.live.signers:
        raise RequestError(
            f"There is no device class {device_class}.",
            hint=f"Known: {', '.join(session.live.classes) or 'none'}. Add one with edge-convert keys class.",
        )
    return device_class


def _check(targets: Targets, manifest: Manifest, of: str, placed: Mapping[str, TargetFile], now: datetime) -> None:
    """Raises `ArtifactError` where the version is there with other content; else its manifest says when it came."""
    known = {release.version: release for release in releases(targets.targets, of) if release.name == manifest.name}
    base = f"{of}models/{manifest.name}/{manifest.version}/"
    if manifest.version in known:
        own = {file.path: file.sha256 for file in manifest.files}
        own[MANIFEST_NAME] = placed[f"{base}{MANIFEST_NAME}"].hashes["sha256"]
        if own != known[manifest.version].content:
            raise ArtifactError(
                f"Version {manifest.version} of {manifest.name} is published with other content.",
                hint="A version never changes: give this one another.",
                param="version",
            )
    order = max((release.order for release in known.values()), default=0) + 1
    about = {ORDER_FIELD: order, PUBLISHED_FIELD: now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    placed[f"{base}{MANIFEST_NAME}"].unrecognized_fields["custom"] = about


def _prune(targets: Targets, name: str, of: str, keep: int | None) -> list[str]:
    if keep is None:
        return []
    gone = superfluous([release for release in releases(targets.targets, of) if release.name == name], keep)
    for release in gone:
        for file in release.files.values():
            del targets.targets[file.path]
    return [release.version for release in gone]
