"""Changes to who signs, and to how long it is good for: classes, rotation, renewal, signing what waits.

Each returns what is still to be signed: nothing once it is live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets

from agent.errors import ArtifactError, RequestError
from agent.store.durable import Step
from convert.publish.draft import Draft, discard
from convert.publish.keys import KeyRing, new_key, save_key
from convert.publish.models import share_keys
from convert.publish.roles import (
    DEFAULT_QUORUMS,
    ONLINE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    TOP_LEVEL,
    Quorum,
    check_class,
    delegated_paths,
    delegator_of,
)
from convert.publish.session import Session, commit, opened, utc_now


@dataclass(frozen=True)
class Changed:
    """`keys` are new private keys; `lacking` says what must be signed before devices can see the change."""

    keys: tuple[Path, ...]
    lacking: tuple[str, ...]
    ring: KeyRing


@dataclass(frozen=True)
class Expiring:
    """A role that is past half of its days, and that could not be renewed with the keys at hand."""

    role: str
    expires: datetime


@dataclass(frozen=True)
class Renewed:
    roles: tuple[str, ...]
    lacking: tuple[str, ...]
    expiring: tuple[Expiring, ...]


def add_class(
    repository: Path,
    ring: KeyRing,
    name: str,
    keys_folder: Path,
    *,
    quorum: Quorum = DEFAULT_QUORUMS[TARGETS],
    passphrase: bytes | None = None,
    now: datetime | None = None,
) -> Changed:
    """Delegate `classes/NAME/` to a role with keys of its own. Raises `ArtifactError`, `RequestError`."""
    check_class(name)
    now = now or utc_now()
    with opened(repository) as session:
        if any(name.lower() == known.lower() for known in session.live.classes):
            raise RequestError(f"There is a device class {name} already.")
        draft = session.draft()
        targets: Targets = draft.change(TARGETS, now).signed
        delegations = targets.delegations = targets.delegations or Delegations({}, {})
        assert delegations.roles is not None
        role = DelegatedRole(name, [], quorum.threshold, terminating=True, paths=delegated_paths(name))
        delegations.roles[name] = role
        fresh = [new_key() for _ in range(quorum.keys)]
        for signer in fresh:
            targets.add_key(signer.public_key, name)
        draft.new[name] = Metadata(Targets(version=1))
        draft.change(name, now)
        return _signed(session, draft, ring, name, fresh, keys_folder, passphrase, now)


def rotate(
    repository: Path,
    ring: KeyRing,
    role: str,
    keys_folder: Path,
    *,
    only: Sequence[str] = (),
    quorum: Quorum | None = None,
    passphrase: bytes | None = None,
    now: datetime | None = None,
    on_step: Step | None = None,
) -> Changed:
    """Give a role new keys: instead of all it has, or of `only` those (key ids, or the starts of them).

    For a class the targets role must sign, for all others the root: with the keys before and, for the root's own
    rotation, with the new ones too. The lists of models get the new keys of targets or of their class.

    Raises `ArtifactError`, `RequestError`.
    """
    now = now or utc_now()
    with opened(repository, on_step) as session:
        draft = session.draft()
        delegator_role = delegator_of(role)
        if role not in (*TOP_LEVEL, *session.live.classes):
            known = ", ".join((*TOP_LEVEL, *session.live.classes))
            raise RequestError(f"There is no role {role}.", hint=f"Choose from {known}.")
        delegator: Root | Targets = draft.change(delegator_role, now).signed
        described = delegator.get_delegated_role(role)
        gone = _chosen(role, described, only)
        count = quorum.keys - (len(described.keyids) - len(gone)) if quorum else len(gone)
        if count < 0:
            raise RequestError(f"{role} keeps more than {quorum} keys.", hint="Replace more of them.")
        fresh = [new_key() for _ in range(count)]
        for keyid in gone:
            delegator.revoke_key(keyid, role)
        for signer in fresh:
            delegator.add_key(signer.public_key, role)
        if quorum:
            described.threshold = quorum.threshold
        if role not in ONLINE:
            draft.change(role, now)
        if role not in (ROOT, *ONLINE):
            share_keys(draft, role, now)
        return _signed(session, draft, ring, role, fresh, keys_folder, passphrase, now)


def renew(repository: Path, ring: KeyRing, roles: Sequence[str] = (), *, now: datetime | None = None) -> Renewed:
    """Sign anew what would expire: the timestamp always, all others past half of their days for which enough keys are
    at hand; the lists of models with targets or their class. `roles` named are renewed in any case, and wait for
    signatures where keys are missing.

    What waits for signatures stays as it is. Raises `ArtifactError` where the keys of the online roles are missing,
    `RequestError` for a role that is not there.
    """
    now = now or utc_now()
    with opened(repository) as session:
        known = (*TOP_LEVEL, *session.live.classes)
        for role in roles:
            if role not in known:
                raise RequestError(f"There is no role {role}.", hint=f"Choose from {', '.join(known)}.")
        asked = [role for role in roles if role != TIMESTAMP]
        draft = session.draft() if asked else Draft(session.live)
        expiring = []
        for role in known:
            own = (role, *session.live.models_of(role))
            due = [one for one in own if role in asked or (role != TIMESTAMP and draft.past_half(one, now))]
            waits = session.waiting is not None and any(one in session.waiting.new for one in due)
            if role in asked or (due and not waits and _can_sign(session, ring, role)):
                for one in due:
                    draft.change(one, now)
            elif due:
                expiring.append(Expiring(role, min(session.live.of_role(one).signed.expires for one in due)))
        if not asked and not _can_sign(session, ring, TIMESTAMP):
            raise ArtifactError("The key of the timestamp is not at hand.", hint="Give its folder with --keys.")
        if SNAPSHOT not in draft.new and set(draft.new) - {ROOT} and not _can_sign(session, ring, SNAPSHOT):
            raise ArtifactError("The key of the snapshot is not at hand.", hint="Give its folder with --keys.")
        lacking = commit(session.folder, draft, ring, now)
    return Renewed(tuple({**draft.new, TIMESTAMP: None}), tuple(lacking), tuple(expiring))


def sign_waiting(repository: Path, ring: KeyRing, *, now: datetime | None = None) -> Changed:
    """Add signatures to what waits for them; it becomes live when it has enough. Raises `ArtifactError`."""
    with opened(repository) as session:
        if session.waiting is None:
            raise ArtifactError(f"Nothing of {repository} waits for signatures.")
        lacking = commit(session.folder, session.waiting, ring, now or utc_now())
    return Changed((), tuple(lacking), ring)


def discard_waiting(repository: Path) -> None:
    """Drop what waits for signatures. Raises `ArtifactError` where nothing does."""
    with opened(repository) as session:
        if session.waiting is None:
            raise ArtifactError(f"Nothing of {repository} waits for signatures.")
        discard(session.folder)


def _signed(
    session: Session,
    draft: Draft,
    ring: KeyRing,
    role: str,
    fresh: Sequence[CryptoSigner],
    keys_folder: Path,
    passphrase: bytes | None,
    now: datetime,
) -> Changed:
    saved = tuple(save_key(signer, role, keys_folder, passphrase) for signer in fresh)
    with_new = ring.with_keys(fresh)
    return Changed(saved, tuple(commit(session.folder, draft, with_new, now)), with_new)


def _chosen(role: str, described: Role, only: Sequence[str]) -> list[str]:
    if not only:
        return list(described.keyids)
    chosen = [keyid for keyid in described.keyids if any(keyid.startswith(start) for start in only)]
    for start in only:
        if not any(keyid.startswith(start) for keyid in described.keyids):
            has = ", ".join(keyid[:12] for keyid in described.keyids)
            raise RequestError(f"{role} has no key {start}.", hint=f"It has {has}.")
    return chosen


def _can_sign(session: Session, ring: KeyRing, role: str) -> bool:
    delegator: Root | Targets = session.live.of_role(delegator_of(role)).signed
    described = delegator.get_delegated_role(role)
    return sum(keyid in ring for keyid in described.keyids) >= described.threshold
