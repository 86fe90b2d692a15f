"""Keys are replaced, classes added and signatures renewed while devices go on updating."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError
from tuf.api.metadata import Metadata, Targets

from agent.errors import ArtifactError, EdgeAgentError, RequestError
from convert.publish.changes import Changed, add_class, discard_waiting, renew, rotate, sign_waiting
from convert.publish.create import create
from convert.publish.keys import KeyRing, load_keys, new_key
from convert.publish.roles import ROOT, TARGETS, TIMESTAMP, TOP_LEVEL, Quorum
from convert.publish.session import commit, opened
from convert.publish.show import roles
from tests.convert.publish.published import Killed, Repository

NOW = datetime.now(UTC)


def rotated(repository: Repository, role: str, ring: KeyRing | None = None, **options: object) -> Changed:
    return rotate(
        repository.path,
        ring or repository.created.ring,
        role,
        repository.keys,
        **options,  # type: ignore[arg-type]
    )


def without(ring: KeyRing, repository: Repository, *names: str, leave: int = 0) -> KeyRing:
    """The keys of all roles but those of `names`, of which `leave` stay."""
    shown, _ = roles(repository.path)
    away = {keyid for role in shown if role.role in names for keyid in role.keyids[leave:]}
    return KeyRing(signer for keyid, signer in ring.items() if keyid not in away)


@pytest.mark.parametrize("role", TOP_LEVEL)
def test_rotated_keys_are_followed_by_devices_old_and_new(repository: Repository, role: str) -> None:
    repository.publish("1")
    old = repository.device()
    assert old.latest() == "1"
    before = next(one for one in roles(repository.path)[0] if one.role == role)
    changed = rotated(repository, role)
    after = next(one for one in roles(repository.path)[0] if one.role == role)
    assert changed.lacking == ()
    assert len(changed.keys) == len(before.keyids) == len(after.keyids)
    assert not set(before.keyids) & set(after.keyids)
    assert (old.latest(), repository.device().latest()) == ("1", "1")
    repository.publish("2", ring=without(changed.ring, repository))
    assert (old.latest(), repository.device().latest()) == ("2", "2")


@pytest.mark.parametrize("role", [TARGETS, TIMESTAMP])
def test_the_old_keys_sign_nothing_any_more(repository: Repository, role: str) -> None:
    repository.publish("1")
    old_keys = repository.created.ring
    rotated(repository, role)
    if role == TIMESTAMP:
        with pytest.raises(ArtifactError, match="not at hand"):
            renew(repository.path, old_keys)
    assert repository.publish("2", ring=old_keys).lacking
    assert repository.device().latest() == "1"


@pytest.mark.parametrize("role", TOP_LEVEL)
def test_killed_at_any_step_of_a_rotation_devices_go_on(repository: Repository, role: str) -> None:
    """What a killed rotation left is finished, or forgotten, by the next command."""
    repository.publish("1")
    device = repository.device()
    number = 0
    while True:
        number += 1
        left = number

        def step(name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        try:
            rotated(repository, role, load_keys([repository.keys]), on_step=step)
        except Killed:
            assert device.latest() == "1"
            assert repository.device().latest() == "1"
        else:
            break
    assert number > 20
    assert device.latest() == "1"
    repository.publish("2", ring=load_keys([repository.keys]))
    assert (device.latest(), repository.device().latest()) == ("2", "2")


def test_a_lost_timestamp_key_is_replaced_by_the_root(repository: Repository) -> None:
    repository.publish("1")
    device = repository.device()
    ring = without(repository.created.ring, repository, TIMESTAMP)
    changed = rotated(repository, TIMESTAMP, ring)
    assert changed.lacking == ()
    assert device.latest() == "1"
    assert repository.publish("2", ring=changed.ring).lacking == ()
    assert device.latest() == "2"


def test_one_key_of_several_is_replaced(repository: Repository) -> None:
    shown = {role.role: role for role in roles(repository.path)[0]}
    gone = shown[ROOT].keyids[1]
    rotated(repository, ROOT, only=[gone[:10]])
    left = next(role for role in roles(repository.path)[0] if role.role == ROOT).keyids
    assert gone not in left
    assert {shown[ROOT].keyids[0], shown[ROOT].keyids[2]} < set(left)


def test_a_quorum_can_be_changed(repository: Repository) -> None:
    rotated(repository, TARGETS, quorum=Quorum(3, 4))
    shown = next(role for role in roles(repository.path)[0] if role.role == TARGETS)
    assert (shown.threshold, len(shown.keyids)) == (3, 4)


def test_too_few_signatures_wait_for_the_others(repository: Repository) -> None:
    """Two people have a root key each; neither alone can replace the keys of the targets."""
    repository.publish("1")
    device = repository.device()
    alone = without(repository.created.ring, repository, ROOT, leave=1)
    changed = rotated(repository, TARGETS, alone)
    assert changed.lacking == ("root has 1 of 2 signatures",)
    assert roles(repository.path)[1] == ["root has 1 of 2 signatures"]
    assert device.latest() == "1"
    with pytest.raises(ArtifactError, match="waits for signatures"):
        repository.publish("2")
    renew(repository.path, repository.created.ring)  # the timestamp goes on meanwhile
    assert roles(repository.path)[1] == ["root has 1 of 2 signatures"]
    other = KeyRing(list(without(repository.created.ring, repository, TIMESTAMP, "snapshot", TARGETS).values())[1:2])
    assert sign_waiting(repository.path, other).lacking == ("the keys of snapshot and timestamp are not at hand",)
    assert sign_waiting(repository.path, without(repository.created.ring, repository, ROOT)).lacking == ()
    assert roles(repository.path)[1] == []
    assert device.latest() == "1"
    assert repository.publish("2", ring=changed.ring).lacking == ()
    assert device.latest() == "2"


def test_a_publication_waits_where_the_online_keys_are_elsewhere(repository: Repository) -> None:
    published = repository.publish("1", ring=without(repository.created.ring, repository, TIMESTAMP, "snapshot"))
    assert published.lacking == ("the keys of snapshot and timestamp are not at hand",)
    assert repository.device().latest() is None
    renew(repository.path, repository.created.ring)
    assert sign_waiting(repository.path, without(repository.created.ring, repository, TARGETS, ROOT)).lacking == ()
    assert repository.device().latest() == "1"


def test_what_waits_can_be_dropped(repository: Repository) -> None:
    repository.publish("1", ring=KeyRing())
    discard_waiting(repository.path)
    repository.publish("2")
    device = repository.device()
    assert (device.latest(), device.read("models/toy/1/manifest.json")) == ("2", None)
    for call in (discard_waiting, lambda path: sign_waiting(path, KeyRing())):
        with pytest.raises(ArtifactError, match="Nothing of"):
            call(repository.path)


def test_a_class_has_keys_of_its_own(repository: Repository) -> None:
    repository.publish("1")
    added = add_class(repository.path, repository.created.ring, "pi4", repository.keys)
    assert added.lacking == ()
    own = KeyRing(list(without(added.ring, repository, TARGETS, ROOT).values()))
    assert repository.publish("2", device_class="pi4", ring=own).lacking == ()
    device = repository.device()
    assert (device.latest(), device.latest(scope="classes/pi4/")) == ("1", "2")
    assert device.read("classes/pi4/models/toy/2/1_Pooling/config.json") == b"{}"
    assert repository.publish("3", ring=own).lacking == ("targets~toy has 0 of 1 signatures",)


def test_a_class_cannot_sign_for_others(repository: Repository) -> None:
    """With its key stolen: what it signs outside of its folder is not seen by any device."""
    repository.publish("1")
    added = add_class(repository.path, repository.created.ring, "pi4", repository.keys)
    repository.publish("2", device_class="pi4", ring=added.ring)
    with opened(repository.path) as session:
        draft = session.draft()
        signed: Targets = draft.change("pi4", NOW).signed
        for path, file in list(signed.targets.items()):
            for outside in (path.removeprefix("classes/pi4/"), path.replace("pi4", "pi5")):
                signed.targets[outside] = type(file)(file.length, file.hashes, outside)
        commit(session.folder, draft, added.ring, NOW)
    device = repository.device()
    assert device.latest() == "1"
    assert device.read("models/toy/2/manifest.json") is None
    assert device.latest(scope="classes/pi5/") is None
    assert device.latest(scope="classes/pi4/") == "2"


def test_the_keys_of_a_class_are_rotated_by_the_targets_role(repository: Repository) -> None:
    added = add_class(repository.path, repository.created.ring, "pi4", repository.keys)
    repository.publish("1", device_class="pi4", ring=added.ring)
    device = repository.device()
    assert device.latest(scope="classes/pi4/") == "1"
    changed = rotated(repository, "pi4", added.ring)
    assert device.latest(scope="classes/pi4/") == "1"
    assert repository.publish("2", device_class="pi4", ring=added.ring).lacking == ("pi4~toy has 0 of 1 signatures",)
    discard_waiting(repository.path)
    repository.publish("2", device_class="pi4", ring=changed.ring)
    assert device.latest(scope="classes/pi4/") == "2"


def test_renewal_signs_what_is_past_half_of_its_days(repository: Repository) -> None:
    repository.publish("1")
    online = without(repository.created.ring, repository, ROOT, TARGETS)
    assert renew(repository.path, online).roles == (TIMESTAMP,)
    later = renew(repository.path, online, now=NOW + timedelta(days=20))
    assert later.roles == ("snapshot", TIMESTAMP)
    latest = renew(repository.path, online, now=NOW + timedelta(days=200))
    assert [one.role for one in latest.expiring] == [ROOT, TARGETS]
    renewed = renew(repository.path, repository.created.ring, now=NOW + timedelta(days=200))
    assert set(renewed.roles) == {*TOP_LEVEL, "targets~toy"}
    assert repository.device().latest() == "1"


def test_an_expired_repository_is_renewed(repository: Repository) -> None:
    repository.publish("1", now=NOW - timedelta(days=60))
    with pytest.raises(ExpiredMetadataError):
        repository.device().latest()
    renew(repository.path, repository.created.ring)
    assert repository.device().latest() == "1"


def test_a_role_that_is_named_is_renewed_in_any_case(repository: Repository) -> None:
    before = {role.role: role.version for role in roles(repository.path)[0]}
    renew(repository.path, repository.created.ring, [TARGETS])
    after = {role.role: role.version for role in roles(repository.path)[0]}
    assert {role for role in after if after[role] > before[role]} == {TARGETS, "snapshot", TIMESTAMP}


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda repository: rotated(repository, "pi4"), RequestError, "no role pi4"),
        (lambda repository: rotated(repository, ROOT, only=["zz"]), RequestError, "no key zz"),
        (lambda repository: renew(repository.path, KeyRing()), ArtifactError, "not at hand"),
        (lambda repository: renew(repository.path, KeyRing(), ["pi4"]), RequestError, "no role pi4"),
        (lambda repository: add_class(repository.path, KeyRing(), "targets", repository.keys), RequestError, "cannot"),
        (lambda repository: create(repository.path, repository.folder / "k"), ArtifactError, "a repository already"),
        (lambda repository: create(repository.folder / "r", repository.keys), ArtifactError, "holds something"),
    ],
)
def test_what_cannot_be_changed(
    repository: Repository, call: Callable[[Repository], object], kind: type[EdgeAgentError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        call(repository)


def test_a_signature_of_a_stranger_counts_for_nothing(repository: Repository) -> None:
    """Whoever can write to the web server, but has no key, gets nothing onto a device."""
    repository.publish("1")
    stranger = new_key()
    path = repository.path / "metadata/timestamp.json"
    metadata = Metadata[Targets].from_bytes(path.read_bytes())
    metadata.signed.version += 1
    metadata.sign(stranger)
    path.write_bytes(metadata.to_bytes())
    with pytest.raises(RepositoryError):
        repository.device().latest()


def test_the_folders_of_keys_are_read_again(repository: Repository) -> None:
    assert set(load_keys([repository.keys])) == set(repository.created.ring)
