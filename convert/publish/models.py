"""Each model has a list of its own: a role that targets, or a class, delegates `models/NAME/` to, with its own keys.

A device reads the lists of the models that it wants, and those alone; a publication signs one of them anew. The names
of all models are in the delegator's list, and the versions of all lists in the snapshot, so nothing is lost by it: no
list can be held back or mixed with another, and whoever cannot sign for the delegator cannot sign for a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tuf.api.metadata import DelegatedRole, Delegations, Key, Metadata, Role, TargetFile, Targets

from agent.errors import ArtifactError
from agent.store.names import COMPONENT_LIMIT_BYTES
from convert.publish.draft import Draft
from convert.publish.roles import ROOT, class_of, delegator_of, model_paths, model_role, scope

_ROLE_LIMIT = COMPONENT_LIMIT_BYTES - 64
"""With a version, `.json` and what is put around it while it is written, it is the name of a file."""


def open_list(draft: Draft, delegator: str, name: str, now: datetime) -> Targets:
    """The next version of a model's list, to be changed; an empty one, delegated to, for a model that is new.

    Raises `ArtifactError` for names that are too long together.
    """
    role = model_role(delegator, name)
    if len(role) > _ROLE_LIMIT:
        raise ArtifactError(f"{name} is too long a name for a model of {delegator}.", hint="Give it a shorter one.")
    if role in draft.new or (draft.live is not None and role in draft.live.signers):
        return draft.change(role, now).signed  # type: ignore[no-any-return]
    signed: Targets = draft.change(delegator, now).signed
    delegations = signed.delegations = signed.delegations or Delegations({}, {})
    assert delegations.roles is not None
    delegations.roles[role] = DelegatedRole(
        role, [], 1, terminating=True, paths=model_paths(class_of(delegator), name, 2)
    )
    _share(draft, delegator, role)
    draft.new[role] = Metadata(Targets(version=1))
    return draft.change(role, now).signed  # type: ignore[no-any-return]


def add_files(draft: Draft, delegator: str, name: str, files: Mapping[str, TargetFile], now: datetime) -> None:
    """Into the model's list, which is trusted with paths as deep as theirs."""
    open_list(draft, delegator, name, now).targets.update(files)
    paths = model_paths(class_of(delegator), name, max(_depth(path, delegator) for path in files))
    role = model_role(delegator, name)
    if len(paths) > len(_delegated(draft.of_role(delegator).signed, role).paths or ()):
        _delegated(draft.change(delegator, now).signed, role).paths = paths


def part_lists(draft: Draft, delegator: str, now: datetime) -> list[str]:
    """What the delegator lists itself, as repositories of before did, goes to the models' lists; the models' names."""
    listed: dict[str, TargetFile] = draft.of_role(delegator).signed.targets
    base = f"{scope(class_of(delegator))}models/"
    by_name: dict[str, dict[str, TargetFile]] = {}
    for path, file in listed.items():
        if path.startswith(base):
            by_name.setdefault(path[len(base) :].partition("/")[0], {})[path] = file
    for name, files in by_name.items():
        add_files(draft, delegator, name, files, now)
        own: Targets = draft.change(delegator, now).signed
        for path in files:
            del own.targets[path]
    return sorted(by_name)


def share_keys(draft: Draft, delegator: str, now: datetime) -> None:
    """The delegator has other keys: its models' lists are signed with these from now on."""
    for role in models_in(draft, delegator):
        draft.change(delegator, now)
        _share(draft, delegator, role)
        draft.change(role, now)


def models_in(draft: Draft, delegator: str) -> list[str]:
    """The roles of the models that `delegator` delegates to."""
    delegations = draft.of_role(delegator).signed.delegations
    return [role for role in (delegations.roles if delegations else None) or () if delegator_of(role) == delegator]


def _share(draft: Draft, delegator: str, role: str) -> None:
    """The role of a model gets the keys of its delegator, and how many of them must sign."""
    keys, threshold = _keys_of(draft, delegator)
    signed: Targets = draft.new[delegator].signed
    described = _delegated(signed, role)
    for keyid in [keyid for keyid in described.keyids if keyid not in keys]:
        signed.revoke_key(keyid, role)
    for key in keys.values():
        signed.add_key(key, role)
    described.threshold = threshold


def _keys_of(draft: Draft, delegator: str) -> tuple[dict[str, Key], int]:
    above = delegator_of(delegator)
    signed = draft.of_role(above).signed
    described: Role = signed.get_delegated_role(delegator)
    keys: Mapping[str, Key] = signed.keys if above == ROOT else signed.delegations.keys
    return {keyid: keys[keyid] for keyid in described.keyids}, described.threshold


def _delegated(signed: Targets, role: str) -> DelegatedRole:
    assert signed.delegations is not None
    assert signed.delegations.roles is not None
    return signed.delegations.roles[role]


def _depth(path: str, delegator: str) -> int:
    """How far below the model's folder: `latest.json` is 1, `VERSION/FILE` 2."""
    return path.count("/") - scope(class_of(delegator)).count("/") - 1
