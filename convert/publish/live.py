"""What devices see of a repository: the metadata that the timestamp leads to, with its signatures checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from agent.errors import ArtifactError
from convert.publish.folder import RepositoryFolder, no_repository
from convert.publish.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, delegator_of, is_model_role

DAYS_FIELD: Final = "x-edge-agent-days"
"""In the root: the days of each role, so that whoever renews need not be told."""
ORDER_FIELD: Final = "order"
PUBLISHED_FIELD: Final = "published"

AnyMetadata = Metadata[Any]


@dataclass(frozen=True, kw_only=True)
class Live:
    """`signers` is the targets role, and those of the classes and of the models, by name."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    signers: Mapping[str, Metadata[Targets]]

    @property
    def targets(self) -> Metadata[Targets]:
        return self.signers[TARGETS]

    @property
    def days(self) -> dict[str, int]:
        return dict(self.root.signed.unrecognized_fields[DAYS_FIELD])

    @property
    def classes(self) -> list[str]:
        return sorted(name for name in self.signers if name != TARGETS and not is_model_role(name))

    def models_of(self, delegator: str) -> list[str]:
        """The roles of the models that `delegator` (targets, or a class) delegates to."""
        return sorted(role for role in self.signers if is_model_role(role) and delegator_of(role) == delegator)

    def targets_of(self, delegator: str) -> dict[str, TargetFile]:
        """What `delegator` and the roles of its models have signed, by path."""
        found = dict(self.signers[delegator].signed.targets)
        for role in self.models_of(delegator):
            found |= self.signers[role].signed.targets
        return found

    def of_role(self, role: str) -> AnyMetadata:
        top: dict[str, AnyMetadata] = {ROOT: self.root, TIMESTAMP: self.timestamp, SNAPSHOT: self.snapshot}
        return top[role] if role in top else self.signers[role]

    def target_files(self) -> Iterator[TargetFile]:
        """All of them, of all classes."""
        for signer in self.signers.values():
            yield from signer.signed.targets.values()


def read_live(folder: RepositoryFolder) -> Live:
    """Raises `ArtifactError` where it is not there, or is not what its keys signed."""
    versions = folder.root_versions()
    if not versions:
        raise no_repository(folder.path)
    try:
        root = Metadata[Root].from_bytes(folder.metadata_path(ROOT, versions[-1]).read_bytes())
        verify(root.signed, ROOT, root)
        timestamp = Metadata[Timestamp].from_bytes(folder.metadata_path(TIMESTAMP, 0).read_bytes())
        verify(root.signed, TIMESTAMP, timestamp)
        snapshot = Metadata[Snapshot].from_bytes(
            folder.metadata_path(SNAPSHOT, timestamp.signed.snapshot_meta.version).read_bytes()
        )
        verify(root.signed, SNAPSHOT, snapshot)
        targets = read_signer(folder, snapshot.signed, TARGETS)
        verify(root.signed, TARGETS, targets)
        signers = {TARGETS: targets}
        unread = delegated_names(targets.signed)
        while unread:
            role = unread.pop()
            signers[role] = read_signer(folder, snapshot.signed, role)
            verify(signers[delegator_of(role)].signed, role, signers[role])
            unread += delegated_names(signers[role].signed)
    except (OSError, RepositoryError, KeyError) as error:
        raise ArtifactError(
            f"The repository {folder.path} is damaged: {error}.", hint="Restore a copy of it."
        ) from error
    return Live(root=root, timestamp=timestamp, snapshot=snapshot, signers=signers)


def read_signer(folder: RepositoryFolder, snapshot: Snapshot, role: str) -> Metadata[Targets]:
    """What targets, a class or a model's role signed, as of a snapshot.

    Raises `OSError`, `RepositoryError`, `KeyError`.
    """
    return Metadata[Targets].from_bytes(folder.metadata_path(role, snapshot.meta[f"{role}.json"].version).read_bytes())


def delegated_names(targets: Targets) -> list[str]:
    return list(targets.delegations.roles) if targets.delegations and targets.delegations.roles else []


def verify(delegator: Root | Targets, role: str, metadata: AnyMetadata) -> None:
    """Raises `RepositoryError` unless enough of the role's keys signed it."""
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)


def encoded(metadata: AnyMetadata) -> bytes:
    """As a file. The compact form: it travels over bad links, again and again."""
    return metadata.to_bytes(JSONSerializer(compact=True))
