"""A new repository: its keys, and the first version of all roles."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from agent.errors import ArtifactError
from agent.store.durable import Step
from convert.publish.draft import Draft
from convert.publish.folder import RepositoryFolder
from convert.publish.keys import KeyRing, new_key, save_key
from convert.publish.live import DAYS_FIELD
from convert.publish.roles import DAYS, DEFAULT_QUORUMS, ROOT, TARGETS, Quorum
from convert.publish.session import commit, finish_interrupted, utc_now


@dataclass(frozen=True)
class Created:
    """`root` is the file that devices are given to trust; `keys` are the new private ones."""

    root: Path
    keys: tuple[Path, ...]
    ring: KeyRing


def create(
    repository: Path,
    keys_folder: Path,
    *,
    quorums: Mapping[str, Quorum] | None = None,
    days: Mapping[str, int] = DAYS,
    passphrase: bytes | None = None,
    now: datetime | None = None,
    on_step: Step | None = None,
) -> Created:
    """Make a repository in `repository` and its private keys in `keys_folder`, one folder for each role.

    Raises `ArtifactError` where one of the two is there already and holds something, `DiskFullError`.
    """
    now = now or utc_now()
    quorums = {**DEFAULT_QUORUMS, **(quorums or {})}
    repository.mkdir(parents=True, exist_ok=True)
    folder = RepositoryFolder(repository, on_step)
    with folder.locked():
        finish_interrupted(folder)
        if folder.root_versions():
            raise ArtifactError(f"{repository} is a repository already.", hint="edge-convert keys show tells of it.")
        if keys_folder.is_dir() and any(keys_folder.iterdir()):
            raise ArtifactError(f"{keys_folder} holds something already.", hint="Choose a new folder with --keys.")
        signers = {role: [new_key() for _ in range(quorum.keys)] for role, quorum in quorums.items()}
        saved = _save(signers, keys_folder, passphrase)
        ring = KeyRing(signer for ones in signers.values() for signer in ones)
        try:
            folder.make_folders(folder.metadata)
            folder.make_folders(folder.targets)
            commit(folder, _first(signers, quorums, days, now), ring, now)
        except OSError:
            if not folder.staged.is_dir() and not folder.root_versions():  # keys of nothing would be in the way
                shutil.rmtree(keys_folder, ignore_errors=True)
            raise
    return Created(folder.metadata_path(ROOT, 1), saved, ring)


def _save(signers: Mapping[str, list[CryptoSigner]], keys_folder: Path, passphrase: bytes | None) -> tuple[Path, ...]:
    try:
        return tuple(save_key(one, role, keys_folder, passphrase) for role, ones in signers.items() for one in ones)
    except OSError:
        shutil.rmtree(keys_folder, ignore_errors=True)
        raise


def _first(
    signers: Mapping[str, list[CryptoSigner]], quorums: Mapping[str, Quorum], days: Mapping[str, int], now: datetime
) -> Draft:
    root = Root(version=1, consistent_snapshot=True, unrecognized_fields={DAYS_FIELD: dict(days)})
    for role, ones in signers.items():
        for signer in ones:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = quorums[role].threshold
    draft = Draft(None, {ROOT: Metadata(root), TARGETS: Metadata(Targets(version=1))})
    for role in (ROOT, TARGETS):
        draft.change(role, now)
    return draft
