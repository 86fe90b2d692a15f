"""The models that a role has signed: versions, which of them is the latest, which go when only some are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tuf.api.metadata import TargetFile

from agent.store.names import MANIFEST_NAME
from convert.publish.live import ORDER_FIELD, PUBLISHED_FIELD

LATEST: Final = "latest.json"
INDEX_SUFFIX: Final = ".chunks"


@dataclass(frozen=True, kw_only=True)
class Release:
    """A version of a model. `order` counts publications; `files` are its targets by their path in the artifact, the
    manifest and the chunk indices included."""

    name: str
    version: str
    order: int
    published: str
    latest: bool
    files: Mapping[str, TargetFile]

    @property
    def content(self) -> dict[str, str]:
        """The SHA-256 of the artifact's files: what may not change once it is published."""
        return {path: file.hashes["sha256"] for path, file in self.files.items() if not is_index(path, self.files)}

    @property
    def bytes(self) -> int:
        return sum(file.length for path, file in self.files.items() if not is_index(path, self.files))


def releases(targets: Mapping[str, TargetFile], scope: str) -> list[Release]:
    """Those below `scope` ("" or "classes/C/"), by name and order of publication."""
    files: dict[tuple[str, str], dict[str, TargetFile]] = {}
    latest: dict[str, str] = {}
    base = f"{scope}models/"
    for path, file in targets.items():
        if path.startswith(base):
            name, _, rest = path[len(base) :].partition("/")
            version, _, inner = rest.partition("/")
            if inner:
                files.setdefault((name, version), {})[inner] = file
            else:
                latest[name] = (file.custom or {}).get("version", "")
    found = []
    for (name, version), own in files.items():
        about = (own[MANIFEST_NAME].custom or {}) if MANIFEST_NAME in own else {}
        found.append(
            Release(
                name=name,
                version=version,
                order=about.get(ORDER_FIELD, 0),
                published=about.get(PUBLISHED_FIELD, ""),
                latest=latest.get(name) == version,
                files=own,
            )
        )
    return sorted(found, key=lambda release: (release.name, release.order))


def superfluous(of_one_model: list[Release], keep: int) -> list[Release]:
    """Those that go when the `keep` newest stay; the latest always stays."""
    return [release for release in of_one_model[:-keep] if not release.latest]


def entry(path: str, size_bytes: int, sha256: str) -> TargetFile:
    """What is signed about a file."""
    return TargetFile(size_bytes, {"sha256": sha256}, path)


def latest_json(version: str) -> bytes:
    """The file that tells devices which version to run when they are not told one."""
    return json.dumps({"version": version}).encode() + b"\n"


def is_index(path: str, files: Mapping[str, TargetFile]) -> bool:
    return path.endswith(INDEX_SUFFIX) and path.removesuffix(INDEX_SUFFIX) in files
