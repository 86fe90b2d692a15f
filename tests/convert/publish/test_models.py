"""Each model has a list of its own, and what that means for keys, for devices, and for repositories of before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.exceptions import ExpiredMetadataError
from tuf.api.metadata import Targets

from agent.chunks.blocks import Block, BlockRequest, decode_request, encode_request
from agent.errors import ArtifactError
from convert.publish.changes import add_class, renew, rotate, sign_waiting
from convert.publish.folder import RepositoryFolder
from convert.publish.keys import KeyRing
from convert.publish.live import read_live
from convert.publish.roles import SNAPSHOT, TARGETS, Quorum
from convert.publish.session import commit, opened
from convert.publish.show import models, roles
from tests.convert.publish.published import MODEL, Repository

NOW = datetime.now(UTC)
DEEP = {"model.onnx": MODEL, "a/b/c/d.json": b"{}"}


def unite(repository: Repository, delegator: str = TARGETS) -> None:
    """As repositories of before: targets, or a class, lists the files of all models itself."""
    with opened(repository.path) as session:
        draft = session.draft()
        signed: Targets = draft.change(delegator, NOW).signed
        signed.targets = session.live.targets_of(delegator)
        assert signed.delegations is not None
        assert signed.delegations.roles is not None
        for role in session.live.models_of(delegator):
            for keyid in list(signed.delegations.roles[role].keyids):
                signed.revoke_key(keyid, role)
            del signed.delegations.roles[role]
            del draft.change(SNAPSHOT, NOW).signed.meta[f"{role}.json"]
        commit(session.folder, draft, repository.created.ring, NOW)


def read_by_a_device(repository: Repository, name: str) -> set[str]:
    """The metadata that it has after it has looked for one model."""
    device = repository.device()
    assert device.latest(name) is not None
    return {path.name for path in device._folder.glob("*.json")}


def test_a_device_reads_the_lists_of_the_models_that_it_wants(repository: Repository) -> None:
    for name in ("toy", "other", "third"):
        repository.publish("1", name=name)
    assert {name for name in read_by_a_device(repository, "other") if "~" in name} == {"targets~other.json"}


def test_publishing_a_model_signs_its_list_alone(repository: Repository) -> None:
    for name in ("toy", "other"):
        repository.publish("1", name=name)
    before = {path.name for path in (repository.path / "metadata").iterdir()}
    repository.publish("2", name="other")
    fresh = {path.name for path in (repository.path / "metadata").iterdir()} - before
    assert fresh == {"2.targets~other.json", "4.snapshot.json"}


def test_a_file_in_deep_folders_is_found(repository: Repository) -> None:
    repository.publish("1")
    repository.publish("2", files=DEEP)
    device = repository.device()
    assert device.read("models/toy/2/a/b/c/d.json") == b"{}"
    assert device.read("models/toy/1/model.onnx") == MODEL + b"1"


@pytest.mark.parametrize("device_class", [None, "pi4"])
def test_a_repository_of_before_is_read_and_parted(repository: Repository, device_class: str | None) -> None:
    ring = add_class(repository.path, repository.created.ring, "pi4", repository.keys).ring
    repository = Repository(repository.folder, type(repository.created)(repository.created.root, (), ring))
    scope, delegator = ("classes/pi4/", "pi4") if device_class else ("", TARGETS)
    for name in ("toy", "other"):
        repository.publish("1", name=name, device_class=device_class)
        repository.publish("2", name=name, files=DEEP, device_class=device_class)
    unite(repository, delegator)
    device = repository.device()
    assert (device.latest(scope=scope), device.latest("other", scope)) == ("2", "2")
    assert [one.release.version for one in models(repository.path)] == ["1", "2", "1", "2"]
    assert read_live(RepositoryFolder(repository.path)).models_of(delegator) == []

    published = repository.publish("3", device_class=device_class, keep=2)
    assert (published.parted, published.pruned, published.lacking) == (("other", "toy"), ("1",), ())
    assert (device.latest(scope=scope), device.latest("other", scope)) == ("3", "2")
    assert device.read(f"{scope}models/other/2/a/b/c/d.json") == b"{}"
    assert device.read(f"{scope}models/other/1/model.onnx") == MODEL + b"1"
    assert read_live(RepositoryFolder(repository.path)).signers[delegator].signed.targets == {}
    assert repository.publish("4", device_class=device_class).parted == ()


def test_a_device_that_looked_before_the_lists_were_parted_goes_on(repository: Repository) -> None:
    repository.publish("1")
    unite(repository)
    device = repository.device()
    assert device.latest() == "1"
    repository.publish("2")
    renew(repository.path, repository.created.ring)
    assert device.latest() == "2"


@pytest.mark.parametrize("role", [TARGETS, "pi4"])
def test_the_lists_follow_a_rotation(repository: Repository, role: str) -> None:
    """Other keys, and more of them must sign; devices that saw the old lists go on."""
    added = add_class(repository.path, repository.created.ring, "pi4", repository.keys)
    device_class, scope = ("pi4", "classes/pi4/") if role == "pi4" else (None, "")
    for name in ("toy", "other"):
        repository.publish("1", name=name, device_class=device_class, ring=added.ring)
    device = repository.device()
    assert device.latest(scope=scope) == "1"
    changed = rotate(repository.path, added.ring, role, repository.keys, quorum=Quorum(2, 3), now=NOW)
    assert changed.lacking == ()
    live = read_live(RepositoryFolder(repository.path))
    own = next(shown for shown in roles(repository.path)[0] if shown.role == role)
    for model in live.models_of(role):
        described = live.signers[role].signed.get_delegated_role(model)
        assert (set(described.keyids), described.threshold) == (set(own.keyids), 2)
        assert set(own.keyids) <= set(live.signers[model].signatures)
    assert (device.latest(scope=scope), device.latest("other", scope)) == ("1", "1")
    lacking = repository.publish("2", device_class=device_class, ring=added.ring).lacking
    assert lacking == (f"{role}~toy has 0 of 2 signatures",)
    assert sign_waiting(repository.path, changed.ring).lacking == ()
    assert device.latest(scope=scope) == "2"


def test_many_lists_that_lack_signatures_are_one_line(repository: Repository) -> None:
    for number in range(5):
        repository.publish("1", name=f"model{number}")
    root = KeyRing(list(repository.created.ring.values())[:3])
    changed = rotate(repository.path, root, TARGETS, repository.keys, quorum=Quorum(2, 2), only=[], now=NOW)
    assert changed.lacking == ("the keys of snapshot and timestamp are not at hand",)
    renew(repository.path, repository.created.ring)
    with opened(repository.path) as session:
        assert session.waiting is not None
        for metadata in session.waiting.new.values():
            metadata.signatures.clear()
        assert session.waiting.lacking()[-1] == "the lists of 5 models of targets have 0 of 2 signatures"


def test_the_lists_expire_and_are_renewed_with_their_delegator(repository: Repository) -> None:
    repository.publish("1", now=NOW - timedelta(days=200))
    repository.publish("1", name="other")
    shown = {role.role: role for role in roles(repository.path)[0]}
    assert shown[TARGETS].models == 2
    device = repository.device()
    assert {"targets~toy", TARGETS} & set(renew(repository.path, repository.created.ring).roles) == set()
    later = NOW + timedelta(days=190)
    assert {"targets~toy", "targets~other", TARGETS} <= set(
        renew(repository.path, repository.created.ring, now=later).roles
    )
    assert device.latest() == "1"


def test_publishing_renews_what_its_keys_may(repository: Repository) -> None:
    repository.publish("1", name="other", now=NOW - timedelta(days=366))
    with pytest.raises(ExpiredMetadataError):
        repository.device().latest("other")
    repository.publish("1")
    assert repository.device().latest("other") == "1"


def test_a_publication_of_a_new_model_that_waits_is_signed_later(repository: Repository) -> None:
    repository.publish("1")
    lacking = repository.publish("1", name="other", ring=KeyRing()).lacking
    assert set(lacking) == {"targets has 0 of 1 signatures", "targets~other has 0 of 1 signatures"}
    assert repository.device().latest("other") is None
    assert sign_waiting(repository.path, repository.created.ring).lacking == ()
    assert repository.device().latest("other") == "1"


def test_names_that_make_too_long_a_file_name_together(repository: Repository) -> None:
    ring = add_class(repository.path, repository.created.ring, "c" * 120, repository.keys).ring
    with pytest.raises(ArtifactError, match="too long a name"):
        repository.publish("1", name="m" * 120, device_class="c" * 120, ring=ring)
    assert repository.publish("1", name="m" * 120).lacking == ()
    asked = BlockRequest(file=f"1.targets~{'m' * 120}.json", blocks=(Block(0, 0, 1),))
    assert decode_request(encode_request(asked)) == asked


def test_a_version_that_comes_again_is_the_newest(repository: Repository) -> None:
    """Order counts over the move to a list of its own."""
    for version in "123":
        repository.publish(version)
    unite(repository)
    repository.publish("1", keep=2)
    assert [one.release.version for one in models(repository.path)] == ["3", "1"]
