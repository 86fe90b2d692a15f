"""A repository opened to be changed: what is live, what is staged, and making a draft live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Snapshot, Targets

from agent.errors import ArtifactError
from agent.store.durable import Step
from convert.publish import draft as drafts
from convert.publish.draft import METADATA_LIMIT_BYTES, Draft
from convert.publish.folder import RepositoryFolder, is_full
from convert.publish.keys import KeyRing
from convert.publish.live import Live, encoded, read_live, read_signer
from convert.publish.roles import ROOT, SNAPSHOT, TIMESTAMP


@dataclass(frozen=True)
class Session:
    """`waiting` is what lacks signatures, if anything does."""

    folder: RepositoryFolder
    live: Live
    waiting: Draft | None

    def draft(self) -> Draft:
        """A draft of the next versions. Raises `ArtifactError` where another one waits."""
        if self.waiting is not None:
            raise ArtifactError(
                f"A change of {self.folder.path} waits for signatures: {'; '.join(self.waiting.lacking())}.",
                hint="Sign it with edge-convert keys sign, or drop it with edge-convert keys sign --discard.",
            )
        return Draft(self.live)


@contextmanager
def opened(path: Path, on_step: Step | None = None) -> Iterator[Session]:
    """The repository, for one process at a time; what a killed command left half done is done first.

    Raises `ArtifactError` where it is not there, is damaged, or is being changed; `DiskFullError` for a disk that
    becomes full, which gets back what was written for nothing.
    """
    folder = RepositoryFolder(path, on_step)
    with folder.locked():
        try:
            finish_interrupted(folder)
            live = read_live(folder)
            yield Session(folder, live, drafts.read_draft(folder, live))
        except OSError as error:
            if is_full(error):
                with suppress(ArtifactError, OSError):
                    sweep(folder)
            raise


def commit(folder: RepositoryFolder, draft: Draft, ring: KeyRing, now: datetime) -> list[str]:
    """Sign a draft with the keys at hand. It becomes live, or is staged: then what it lacks is returned.

    Raises `ArtifactError` for metadata that devices would refuse for its size.
    """
    draft.sign(ring)
    lacking = draft.lacking()
    if not lacking and not draft.complete(ring, now):
        lacking = ["the keys of snapshot and timestamp are not at hand"]
    for role, metadata in draft.new.items():
        if len(encoded(metadata)) > METADATA_LIMIT_BYTES:
            raise ArtifactError(
                f"The metadata of {role} would have {len(encoded(metadata)) / 1e6:.2g} MB, more than the"
                f" {METADATA_LIMIT_BYTES / 1e6:g} MB that a small device shall read at each look.",
                hint="Publish with --keep, so that old versions go, or part the models among device classes.",
            )
    if lacking or draft.staged or ROOT in draft.new:
        drafts.save(folder, draft)  # without a new root, the timestamp alone makes it live: nothing to finish
    if not lacking:
        _finish(folder, draft)
    return lacking


def finish_interrupted(folder: RepositoryFolder) -> None:
    """Put a complete draft into place that is still staged: its command was killed."""
    live = None
    with suppress(ArtifactError):
        live = read_live(folder)
    draft = drafts.read_draft(folder, live)
    if draft is not None and draft.is_complete():
        _finish(folder, draft)


def utc_now() -> datetime:
    return datetime.now(UTC)


def _finish(folder: RepositoryFolder, draft: Draft) -> None:
    draft.put(folder)
    if draft.staged or ROOT in draft.new:
        drafts.discard(folder)
    sweep(folder)


def sweep(folder: RepositoryFolder) -> None:
    """Remove what neither this snapshot nor the one before leads to: a device may be half through that one."""
    live = read_live(folder)
    metadata = [folder.metadata_path(TIMESTAMP, 0)]
    signers: list[Targets] = []
    for version in (live.snapshot.signed.version, live.snapshot.signed.version - 1):
        with suppress(OSError, RepositoryError, KeyError):
            path = folder.metadata_path(SNAPSHOT, version)
            snapshot = Metadata[Snapshot].from_bytes(path.read_bytes()).signed
            metadata.append(path)
            for name, file in snapshot.meta.items():
                role = name.removesuffix(".json")
                signers.append(read_signer(folder, snapshot, role).signed)
                metadata.append(folder.metadata_path(role, file.version))
    waiting = drafts.read_draft(folder, live)
    if waiting is not None:
        signers += [one.signed for one in waiting.new.values() if isinstance(one.signed, Targets)]
    files = [file for signer in signers for file in signer.targets.values()]
    folder.sweep(metadata, [folder.target_path(file.path, file.hashes["sha256"]) for file in files])
