"""The job "resolve": which version is wanted, and which files make it, by metadata that was verified just now."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tuf.api.metadata import TargetFile

from agent.chunks.index import MAX_CHUNK_BYTES, MAX_INDEX_BYTES
from agent.errors import ArtifactError, ConfigError, ModelNotFoundError, UntrustedError, UpdateError
from agent.store.manifest import Manifest, decode_manifest
from agent.store.names import MANIFEST_NAME, is_safe_name, is_safe_version
from agent.updates.fetch.listing import Listing, single_chunk
from agent.updates.fetch.places import INDICES, index_path, locked
from agent.updates.fetch.repository import TrustedRepository, sha256_of, version_in
from agent.updates.fetch.transport import Transport
from agent.updates.fetch.wire import Found, Resolve, Signed

LATEST: Final = "latest.json"
INDEX_SUFFIX: Final = ".chunks"
KEEP_INDICES_S: Final = 30 * 86_400.0


def resolve(
    job: Resolve,
    transport: Transport,
    *,
    wall: Callable[[], float] = time.time,
    pause: Callable[[float], object] = time.sleep,
) -> Found:
    """Raises `EdgeAgentError`, `OSError`. `wall` gives Unix time as the system has it."""
    folder = Path(job.repository.folder)
    root = read_root(Path(job.repository.root_file))
    with locked(folder):
        repository = TrustedRepository(folder, root, transport, wall=wall, pause=pause)
        repository.refresh()
        scope, version, signed = _find(repository, job)
        data = repository.small(signed)
        manifest = _manifest(data, job.name, version)
        files = tuple(_files(repository, f"{scope}models/{job.name}/{version}/", manifest))
        _indices(repository, folder, files)
    return Found(version=version, manifest=data, files=files)


def read_root(path: Path) -> bytes:
    """Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            return file.read(256 * 1024)
    except OSError as error:
        raise ConfigError(
            f"updates.root_file = {str(path)!r} cannot be read: {error.strerror}.",
            hint="Copy the repository's root to the device: metadata/1.root.json.",
            param="updates.root_file",
        ) from error


def _find(repository: TrustedRepository, job: Resolve) -> tuple[str, str, TargetFile]:
    """Where the model is: below its device's class, or for all; its version and its manifest."""
    if not is_safe_name(job.name) or (job.version is not None and not is_safe_version(job.version)):
        raise ModelNotFoundError(f"{job.name}@{job.version or 'latest'} cannot name a model.")
    device_class = job.repository.device_class
    for scope in ([f"classes/{device_class}/"] if device_class else []) + [""]:
        version = job.version
        if version is None:
            latest = repository.find(f"{scope}models/{job.name}/{LATEST}")
            if latest is None:
                continue
            version = version_in(repository.small(latest))
        manifest = repository.find(f"{scope}models/{job.name}/{version}/{MANIFEST_NAME}")
        if manifest is not None:
            return scope, version, manifest
        if job.version is None:
            raise UntrustedError(f"The latest version of {job.name} is said to be {version}, which is not there.")
    wanted = job.name if job.version is None else f"{job.name}@{job.version}"
    raise ModelNotFoundError(
        f"The repository has no {wanted}.", hint="Check the name, the version and updates.device_class."
    )


def _manifest(data: bytes, name: str, version: str) -> Manifest:
    try:
        manifest = decode_manifest(data)
    except ArtifactError as error:
        raise UpdateError(f"The manifest of {name}@{version} is not acceptable: {error.message}") from error
    if (manifest.name, manifest.version) != (name, version):
        raise UntrustedError(f"The manifest of {name}@{version} is of {manifest.name}@{manifest.version}.")
    return manifest


def _files(repository: TrustedRepository, base: str, manifest: Manifest) -> list[Signed]:
    files = []
    for file in manifest.files:
        target = repository.find(base + file.path)
        if target is None:
            raise UntrustedError(f"{file.path} is in the manifest, and not signed.")
        if (target.length, sha256_of(target)) != (file.bytes, file.sha256):
            raise UntrustedError(f"{file.path} is signed with another size or SHA-256 than in the manifest.")
        files.append(Signed(path=file.path, bytes=file.bytes, sha256=file.sha256, target=target.path))
    return files


def _indices(repository: TrustedRepository, folder: Path, files: tuple[Signed, ...]) -> None:
    """The chunk indices of all files, checked; old ones of others are deleted."""
    (folder / INDICES).mkdir(exist_ok=True)
    for file in files:
        path = index_path(folder, file.sha256)
        if not _listed(path, file):
            target = repository.find(file.target + INDEX_SUFFIX)
            if target is not None and target.length <= MAX_INDEX_BYTES:
                repository.save(target, path)
            elif file.bytes <= MAX_CHUNK_BYTES:
                path.write_bytes(single_chunk(file.bytes, file.sha256))
            else:
                raise UpdateError(
                    f"{file.path} has no usable chunk index in the repository.", hint="Publish the artifact again."
                )
            Listing(path, size_bytes=file.bytes, sha256=file.sha256).close()
    kept = {index_path(folder, file.sha256).name for file in files}
    for path in (folder / INDICES).iterdir():
        if path.name not in kept and path.stat().st_mtime < time.time() - KEEP_INDICES_S:
            path.unlink(missing_ok=True)


def _listed(path: Path, file: Signed) -> bool:
    """Whether it is there already, from an earlier time."""
    try:
        Listing(path, size_bytes=file.bytes, sha256=file.sha256).close()
    except (OSError, UntrustedError):
        return False
    return True
