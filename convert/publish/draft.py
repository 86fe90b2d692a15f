"""New versions of metadata that are not live yet: they wait for signatures, or are just being put into place.

A draft is complete when it has a timestamp: then nothing is left to decide, and it is put into place, by the command
that made it or, if that was killed, by the next one. Until then devices see the old repository.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from urllib.parse import quote, unquote

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, Targets, Timestamp

from agent.errors import ArtifactError
from convert.publish.folder import PART, RepositoryFolder
from convert.publish.keys import KeyRing
from convert.publish.live import DAYS_FIELD, AnyMetadata, Live, encoded, verify
from convert.publish.roles import (
    CLASSES,
    DAYS,
    ONLINE,
    ROOT,
    SNAPSHOT,
    TIMESTAMP,
    delegator_of,
    is_model_role,
)

METADATA_LIMIT_BYTES = 1_000_000
"""Of a role. About 150 bytes are signed for each file, and a device reads those of all versions of a model that it
wants, and 500 bytes for each other model: 2 to 3 MB of memory for 200 kB. Devices refuse 5 MB."""
_SHOWN_MODELS = 3


class Draft:
    """New metadata by role. `live` is what it shall replace, None for a new repository; `staged` says that it was
    read from the disk, and is to go from there once it is live."""

    def __init__(self, live: Live | None, new: dict[str, AnyMetadata] | None = None, *, staged: bool = False) -> None:
        self.live = live
        self.staged = staged
        self.new: dict[str, AnyMetadata] = dict(new or {})

    @property
    def root(self) -> Root:
        return self.of_role(ROOT).signed  # type: ignore[no-any-return]

    def change(self, role: str, now: datetime) -> AnyMetadata:
        """The next version of a role, unsigned, to be changed and then signed."""
        if role not in self.new:
            assert self.live is not None
            signed = deepcopy(self.live.of_role(role).signed)
            signed.version += 1
            self.new[role] = Metadata(signed)
        self.new[role].signed.expires = now + timedelta(days=self.days_of(role))
        return self.new[role]

    def days_of(self, role: str) -> int:
        days: dict[str, int] = {**DAYS, **self.root.unrecognized_fields.get(DAYS_FIELD, {})}
        signer = delegator_of(role) if is_model_role(role) else role
        return days[signer if signer in days else CLASSES]

    def past_half(self, role: str, now: datetime) -> bool:
        """Whether what is signed of a role is good for less than half of its days."""
        expires: datetime = self.of_role(role).signed.expires
        return expires - now < timedelta(days=self.days_of(role)) / 2

    def sign(self, ring: KeyRing) -> None:
        """With all keys at hand, those that a role had before included: devices that do not know the new root yet
        then accept what is signed here as well."""
        for role, metadata in self.new.items():
            ring.sign(metadata, self.keyids(role))

    def keyids(self, role: str) -> list[str]:
        """Those of a role now, and those before."""
        delegator = delegator_of(role)
        before = []
        if self.live is not None and (delegator == ROOT or delegator in self.live.signers):
            before = _keyids(self.live.of_role(delegator).signed, role)
        return [*_keyids(self.of_role(delegator).signed, role), *before]

    def lacking(self, roles: Iterable[str] | None = None) -> list[str]:
        """What is still to be signed, one line for each role; the roles of many models are one line."""
        found = []
        models: dict[tuple[str, int, int], list[str]] = {}
        for role in self.new if roles is None else roles:
            metadata = self.new[role]
            before = self.live.root.signed if self.live else None
            if role == ROOT:
                both = self.root.get_root_verification_result(before, metadata.signed_bytes, metadata.signatures)
                results = [both.first, both.second]
            else:
                delegator = self.of_role(delegator_of(role)).signed
                results = [delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)]
            worst = max(results, key=lambda result: result.missing)
            if worst.missing and is_model_role(role):
                models.setdefault((delegator_of(role), len(worst.signed), worst.threshold), []).append(role)
            elif worst.missing:
                found.append(f"{role} has {len(worst.signed)} of {worst.threshold} signatures")
        for (owner, have, threshold), ones in models.items():
            if len(ones) > _SHOWN_MODELS:
                found.append(f"the lists of {len(ones)} models of {owner} have {have} of {threshold} signatures")
            else:
                found += [f"{role} has {have} of {threshold} signatures" for role in ones]
        return found

    def complete(self, ring: KeyRing, now: datetime) -> bool:
        """Add the snapshot and the timestamp. False, and nothing added, where their keys are not at hand."""
        before = dict(self.new)
        for role, add in ((SNAPSHOT, self._add_snapshot), (TIMESTAMP, self._add_timestamp)):
            add(now)
            if role in self.new:
                ring.sign(self.new[role], self.keyids(role))  # the timestamp has the hash of the signed snapshot
        if not self.lacking([role for role in ONLINE if role in self.new]):
            return True
        self.new = before
        return False

    def is_complete(self) -> bool:
        return TIMESTAMP in self.new

    def put(self, folder: RepositoryFolder) -> None:
        """Into place, so that a device finds the old repository or the new one at any moment."""
        first = [role for role in self.new if role not in (ROOT, TIMESTAMP)]
        order = [*first, TIMESTAMP, ROOT] if self._old_root_suffices() else [*first, ROOT, TIMESTAMP]
        for role in order:
            if role in self.new:
                metadata = self.new[role]
                folder.write(folder.metadata_path(role, metadata.signed.version), encoded(metadata))

    def _add_snapshot(self, now: datetime) -> None:
        signers = {role: data for role, data in self.new.items() if role not in (ROOT, *ONLINE)}
        if self.live is None:
            self.new[SNAPSHOT] = Metadata(Snapshot(version=1))
        if signers or SNAPSHOT in self.new or self._keys_changed(SNAPSHOT):
            snapshot = self.change(SNAPSHOT, now).signed
            for role, metadata in signers.items():
                snapshot.meta[f"{role}.json"] = _meta_file(metadata)

    def _add_timestamp(self, now: datetime) -> None:
        if self.live is None:
            self.new[TIMESTAMP] = Metadata(Timestamp(version=1))
        timestamp = self.change(TIMESTAMP, now).signed
        if SNAPSHOT in self.new:
            timestamp.snapshot_meta = _meta_file(self.new[SNAPSHOT])

    def _keys_changed(self, role: str) -> bool:
        return self.live is not None and self.root.roles[role] != self.live.root.signed.roles[role]

    def _old_root_suffices(self) -> bool:
        """Whether a device that knows only the old root accepts all that is new."""
        if self.live is None or ROOT not in self.new:
            return True
        try:
            for role, metadata in self.new.items():
                if role in self.live.root.signed.roles and role != ROOT:
                    verify(self.live.root.signed, role, metadata)
        except RepositoryError:
            return False
        return True

    def of_role(self, role: str) -> AnyMetadata:
        """As it will be, or as it is live."""
        if role in self.new:
            return self.new[role]
        assert self.live is not None
        return self.live.of_role(role)


def save(folder: RepositoryFolder, draft: Draft) -> None:
    """Instead of what was staged before."""
    disk = folder.disk
    part = folder.staged.with_name(f"{folder.staged.name}{PART}")
    old = folder.staged.with_name(f"{folder.staged.name}.old")
    for path in (part, old):
        disk.remove_tree(path)
    disk.make_folder(part)
    for role, metadata in draft.new.items():
        disk.write_new(part / f"{quote(role, '')}.json", encoded(metadata))
    disk.sync_folder(part)
    if folder.staged.is_dir():
        disk.rename(folder.staged, old)
    disk.rename(part, folder.staged)
    disk.remove_tree(old)


def read_draft(folder: RepositoryFolder, live: Live | None) -> Draft | None:
    """What is staged. Raises `ArtifactError` for what cannot be read."""
    if not folder.staged.is_dir():
        return None
    try:
        new = {
            unquote(path.stem): Metadata.from_bytes(path.read_bytes()) for path in sorted(folder.staged.glob("*.json"))
        }
    except (OSError, RepositoryError) as error:
        raise ArtifactError(
            f"{folder.staged} is damaged: {error}.", hint="Drop it with edge-convert keys sign --discard."
        ) from error
    return Draft(live, new, staged=True)


def discard(folder: RepositoryFolder) -> None:
    gone = folder.staged.with_name(f"{folder.staged.name}.old")
    folder.disk.remove_tree(gone)
    if folder.staged.is_dir():
        folder.disk.rename(folder.staged, gone)
        folder.disk.remove_tree(gone)


def _keyids(delegator: Root | Targets, role: str) -> list[str]:
    known = _roles_of(delegator)
    return list(known[role].keyids) if role in known else []


def _roles_of(delegator: Root | Targets) -> Mapping[str, Role]:
    if isinstance(delegator, Root):
        return delegator.roles
    return (delegator.delegations.roles or {}) if delegator.delegations else {}


def _meta_file(metadata: AnyMetadata) -> MetaFile:
    """Length and hash too: a mirror that sends more than that is not listened to."""
    return MetaFile.from_data(metadata.signed.version, encoded(metadata), ["sha256"])
