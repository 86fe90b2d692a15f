"""What was downloaded becomes an artifact: a folder with manifest.json, which the store imports like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.hub.download import Wanted
from agent.hub.repository import RemoteFile, Repository
from agent.store.importing import next_version
from agent.store.layout import StoredModel
from agent.store.manifest import ArtifactFile, Manifest, check_manifest, encode_manifest
from agent.store.names import MANIFEST_NAME

FOLDER_KEY = "hub"
"""In `metadata`: the repository, its commit, and what the files are called there."""


def stored_already(
    models: Sequence[StoredModel], name: str, version: str | None, wanted: Sequence[Wanted]
) -> StoredModel | None:
    """The stored version of `name` (only `version`, if given) that has these very files, by the hub's hashes."""
    for model in models:
        if model.name != name or version not in (None, model.version):
            continue
        files = {file.path: file for file in model.manifest.files}
        if files.keys() == {one.path for one in wanted} and all(
            _same(model.path / one.path, files[one.path], one.file) for one in wanted
        ):
            return model
    return None


def write_manifest(
    folder: Path,
    draft: Manifest,
    repository: Repository,
    wanted: Sequence[Wanted],
    hashes: Mapping[str, str],
    *,
    name: str,
    version: str | None,
    taken: Sequence[str],
) -> Manifest:
    """Writes manifest.json for the files in `folder`, whose SHA-256 `hashes` gives by path.

    `draft` is what the store said of them; `taken` are the versions that are stored. Raises `ArtifactError`, `OSError`.
    """
    hub: dict[str, Any] = {
        "repository": repository.name,
        "revision": repository.revision,
        "files": {one.path: one.file.path for one in wanted if one.path != one.file.path},
    }
    manifest = msgspec.structs.replace(
        draft,
        name=name,
        version=version or next_version(list(taken)),
        files=tuple(
            ArtifactFile(path=one.path, bytes=one.file.bytes, sha256=hashes[one.path])
            for one in sorted(wanted, key=_by_path)
        ),
        source=repository.label,
        license=repository.license or draft.license,
        metadata={**draft.metadata, FOLDER_KEY: hub},
    )
    check_manifest(manifest)
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
    return manifest


def _same(path: Path, stored: ArtifactFile, file: RemoteFile) -> bool:
    if stored.bytes != file.bytes:
        return False
    if file.sha256:
        return stored.sha256 == file.sha256
    data = path.read_bytes()  # git knows small files alone
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.blob_sha1


def _by_path(one: Wanted) -> str:
    return one.path
