"""What a repository holds: its roles and keys, its models, what waits for signatures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root, Targets

from convert.publish.catalog import Release, releases
from convert.publish.draft import read_draft
from convert.publish.folder import RepositoryFolder
from convert.publish.live import Live, read_live
from convert.publish.roles import TARGETS, TOP_LEVEL, class_of, delegator_of, scope


@dataclass(frozen=True, kw_only=True)
class RoleShown:
    """`models` have lists of their own with the keys of the role; `expires` is the earliest of all these."""

    role: str
    version: int
    expires: datetime
    threshold: int
    keyids: tuple[str, ...]
    models: int


@dataclass(frozen=True, kw_only=True)
class ReleaseShown:
    """A version of a model, for all devices (`device_class` None) or those of a class."""

    device_class: str | None
    release: Release


def roles(repository: Path) -> tuple[list[RoleShown], list[str]]:
    """The roles, and what waits for signatures. Raises `ArtifactError`."""
    folder = RepositoryFolder(repository)
    live = read_live(folder)
    waiting = read_draft(folder, live)
    shown = [_role(live, role) for role in (*TOP_LEVEL, *live.classes)]
    return shown, waiting.lacking() if waiting else []


def models(repository: Path) -> list[ReleaseShown]:
    """The published versions, those for all devices first. Raises `ArtifactError`."""
    live = read_live(RepositoryFolder(repository))
    found = []
    for role in (TARGETS, *live.classes):
        device_class = class_of(role)
        own = releases(live.targets_of(role), scope(device_class))
        found += [ReleaseShown(device_class=device_class, release=release) for release in own]
    return found


def _role(live: Live, role: str) -> RoleShown:
    delegator: Root | Targets = live.of_role(delegator_of(role)).signed
    models = live.models_of(role)
    described = delegator.get_delegated_role(role)
    signed = live.of_role(role).signed
    return RoleShown(
        role=role,
        version=signed.version,
        expires=min(live.of_role(one).signed.expires for one in (role, *models)),
        threshold=described.threshold,
        keyids=tuple(described.keyids),
        models=len(models),
    )
