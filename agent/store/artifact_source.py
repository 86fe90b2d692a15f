"""An artifact folder whose manifest.json lists its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.errors import ArtifactError, HashMismatchError
from agent.store.durable import read_start
from agent.store.manifest import MANIFEST_LIMIT_BYTES, decode_manifest
from agent.store.names import MANIFEST_NAME
from agent.store.plan import Ignored, ImportPlan, inside, listing, source_file


def plan_artifact(folder: Path, *, name: str | None = None, version: str | None = None) -> ImportPlan:
    """The plan for a folder with a manifest. `name` and `version`, if given, must be those of the manifest.

    Raises `ArtifactError` for a bad manifest, a file that is missing or leads out of the folder, and
    `HashMismatchError` for one of another size than listed. What is not listed is ignored.
    """
    listed_in = source_file(inside(folder, MANIFEST_NAME), MANIFEST_NAME)
    data = read_start(listed_in.source, MANIFEST_LIMIT_BYTES + 1)
    manifest = decode_manifest(data)
    for key, wanted, found in (("name", name, manifest.name), ("version", version, manifest.version)):
        if wanted is not None and wanted != found:
            raise ArtifactError(
                f"The manifest of {folder} has the {key} {found}, not {wanted}.",
                hint=f"Leave out the {key}, or change it in the manifest.",
                param=key,
            )
    files = []
    for entry in manifest.files:
        present = source_file(inside(folder, entry.path), entry.path)
        if present.bytes != entry.bytes:
            raise HashMismatchError(
                f"{entry.path} has {present.bytes} bytes; the manifest says {entry.bytes}.",
                hint="The artifact is incomplete or was changed: get it again.",
                param=entry.path,
            )
        files.append(replace(present, sha256=entry.sha256))
    listed = {entry.path for entry in manifest.files} | {MANIFEST_NAME}
    ignored = (Ignored(path=path, reason="not in the manifest") for path in listing(folder) if path not in listed)
    return ImportPlan(draft=manifest, files=tuple(files), manifest_bytes=data, ignored=tuple(ignored), folder=folder)
