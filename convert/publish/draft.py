"""New versions of metadata that are not live yet: they wait for signatures, or are just being put into place.

A draft is complete when it has a timestamp: then nothing is left to decide, and it is put into place, by the command
that made it or, if that was killed, by the next one. Until then devices see the old repository.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from datetime import datetime, timedelta
from urllib.parse import quote, unquote

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from agent.errors import ArtifactError
from convert.publish.folder import PART, RepositoryFolder
from convert.publish.keys import KeyRing
from convert.publish.live import DAYS_FIELD, AnyMetadata, Live, encoded, verify
from convert.publish.roles import CLASSES, DAYS, ONLINE, ROOT, SNAPSHOT, TARGETS, TIMESTAMP

METADATA_LIMIT_BYTES = 1_000_000
"""Of a role. About 150 bytes are signed for each file, and a device reads all of them, of all versions of all models,
at each look: with 4,300 files (650 kB) that takes 8 MB of memory more than with a few. Devices refuse 5 MB."""


class Draft:
    """New metadata by role. `live` is what it shall replace, None for a new repository; `staged` says that it was
    read from the disk, and is to go from there once it is live."""

    def __init__(self, live: Live | None, new: dict[str, AnyMetadata] | None = None, *, staged: bool = False) -> None:
        self.live = live
        self.staged = staged
        self.new: dict[str, AnyMetadata] = dict(new or {})

    @property
    def root(self) -> Root:
        return self._of(ROOT).signed  # type: ignore[no-any-return]

    @property
    def targets(self) -> Targets:
        return self._of(TARGETS).signed  # type: ignore[no-any-return]

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
        return days[role if role in days else CLASSES]

    def sign(self, ring: KeyRing) -> None:
        """With all keys at hand, those that a role had before included: devices that do not know the new root yet
        then accept what is signed here as well."""
        for role, metadata in self.new.items():
            ring.sign(metadata, self.keyids(role))

    def keyids(self, role: str) -> list[str]:
        """Those of a role now, and those before."""
        before = [] if self.live is None else _keyids(self.live.root.signed, self.live.targets.signed, role)
        return [*_keyids(self.root, self.targets, role), *before]

    def lacking(self, roles: Iterable[str] | None = None) -> list[str]:
        """What is still to be signed, one line for each role."""
        found = []
        for role in self.new if roles is None else roles:
            metadata = self.new[role]
            before = self.live.root.signed if self.live else None
            if role == ROOT:
                both = self.root.get_root_verification_result(before, metadata.signed_bytes, metadata.signatures)
                results = [both.first, both.second]
            else:
                delegator = self.root if role in self.root.roles else self.targets
                results = [delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)]
            worst = max(results, key=lambda result: result.missing)
            if worst.missing:
                found.append(f"{role} has {len(worst.signed)} of {worst.threshold} signatures")
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

    def _of(self, role: str) -> AnyMetadata:
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


def _keyids(root: Root, targets: Targets, role: str) -> list[str]:
    if role in root.roles:
        return list(root.roles[role].keyids)
    known = targets.delegations.roles if targets.delegations and targets.delegations.roles else {}
    return list(known[role].keyids) if role in known else []


def _meta_file(metadata: AnyMetadata) -> MetaFile:
    """Length and hash too: a mirror that sends more than that is not listened to."""
    return MetaFile.from_data(metadata.signed.version, encoded(metadata), ["sha256"])
