"""Each attack of TUF's specification (1.0, 1.5.2), by its name there: nothing is installed, the running model stays.

The attacker has the web server, and some keys where a test says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from agent.errors import ConfigError, EdgeAgentError, UntrustedError, UpdateError
from agent.updates.fetch.clock import RELEASED
from convert.publish.changes import renew, rotate
from convert.publish.keys import KeyRing, load_keys
from convert.publish.models import open_list
from convert.publish.session import commit, opened
from tests.convert.publish.published import Repository, new_repository
from tests.updates.fetch.device import FetchingDevice, contents
from tests.updates.fetch.web import Handler, Web

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SOFTWARE = b"what the publisher wants " * 40_000
OTHER = b"what the attacker wants, " * 40_000


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Made at `NOON`; timestamps last 7 days, snapshots 30, all else 365."""
    (tmp_path / "publisher").mkdir()
    made = new_repository(tmp_path / "publisher", now=NOON)
    made.publish("1", files={"model.onnx": SOFTWARE}, now=NOON)
    return made


@pytest.fixture
def device(tmp_path: Path, repository: Repository, web: Web) -> Iterator[FetchingDevice]:
    """One that runs version 1; whatever a test does, it does so at the end, and has nothing else."""
    device = FetchingDevice(tmp_path / "device", repository.created.root, web.url)
    device.wall_s = (NOON + timedelta(hours=1)).timestamp()
    running = device.models / "toy" / "1"
    running.parent.mkdir()
    device.download(device.resolve()).rename(running)
    before = contents(device.models)
    yield device
    assert contents(device.models) == before
    assert (
        not [name for name in contents(device.into) if not name.startswith(".fetch/")] if device.into.exists() else True
    )


@pytest.fixture
def mirror(tmp_path: Path, repository: Repository, web: Web) -> Callable[[], Path]:
    """The repository as it is now, from then on in the attacker's hands."""

    def take() -> Path:
        folder = tmp_path / f"mirror{len(list(tmp_path.glob('mirror*')))}"
        shutil.copytree(repository.path, folder)
        web.folder = folder
        return folder

    return take


def refused(device: FetchingDevice, *words: str, kind: type[EdgeAgentError] = UntrustedError) -> None:
    """It says so, with these words."""
    with pytest.raises(kind) as caught:
        device.resolve()
    for word in words:
        assert word in str(caught.value)


def test_arbitrary_software(repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]) -> None:
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    (file,) = mirror().glob("targets/models/toy/2/*.model.onnx")
    file.write_bytes(OTHER + b"2")
    (device.models / "toy").rename(device.folder.parent / "elsewhere")  # so that all of it has to travel
    found = device.resolve()
    with pytest.raises(UpdateError, match=r"wrong SHA-256"):
        device.download(found)
    (device.folder.parent / "elsewhere").rename(device.models / "toy")


@pytest.mark.parametrize("what", ["latest.json", "manifest.json", "model.onnx.chunks"])
def test_arbitrary_software_described_by_other_files(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path], what: str
) -> None:
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    for file in mirror().glob(f"targets/models/**/*.{what}"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    refused(device, what, "not what was signed")


def test_arbitrary_software_in_metadata_that_nobody_signed(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]
) -> None:
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    file = mirror() / "metadata" / "timestamp.json"
    file.write_bytes(file.read_bytes().replace(b'"version":3', b'"version":4'))
    refused(device, "not to be trusted", "timestamp")


def test_rollback(repository: Repository, device: FetchingDevice, mirror: Callable[[], Path], web: Web) -> None:
    old = mirror()
    web.folder = repository.path
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    assert device.resolve().version == "2"
    web.folder = old
    refused(device, "not to be trusted", "version")


def test_rollback_of_one_snapshot(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path], web: Web
) -> None:
    """The attacker has the online keys, and signs a new timestamp for an old snapshot."""
    old = Metadata[Timestamp].from_file(str(repository.path / "metadata" / "timestamp.json")).signed.snapshot_meta
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    assert device.resolve().version == "2"
    _forge(repository, mirror(), lambda timestamp: setattr(timestamp, "snapshot_meta", old))
    refused(device, "not to be trusted", "snapshot version")


def test_freeze(repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]) -> None:
    mirror()
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    assert device.resolve().version == "1"
    device.wall_s = (NOON + 7 * DAY).timestamp() + 1
    refused(device, "has expired", "timestamp.json", "2027-03-08 12:00 UTC")


def test_mix_and_match(repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]) -> None:
    """Files of two states of the repository, each of them signed."""
    old = (repository.path / "metadata" / "1.targets~toy.json").read_bytes()
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    (mirror() / "metadata" / "2.targets~toy.json").write_bytes(old)
    refused(device, "not to be trusted")


def test_mix_and_match_of_two_models_lists(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]
) -> None:
    """They have the same keys and the same version: the snapshot tells them apart."""
    for version in "12":
        repository.publish(version, name="ant", files={"model.onnx": OTHER + version.encode()}, now=NOON)
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    folder = mirror() / "metadata"
    (folder / "2.targets~toy.json").write_bytes((folder / "2.targets~ant.json").read_bytes())
    refused(device, "not to be trusted")


def test_freeze_of_one_model_s_list(repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]) -> None:
    """Held back alone, it is missed."""
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    (mirror() / "metadata" / "2.targets~toy.json").unlink()
    refused(device, "has no metadata", kind=UpdateError)


def test_a_model_s_list_has_no_say_on_other_models(repository: Repository, device: FetchingDevice) -> None:
    """Not even with the right keys."""
    with opened(repository.path) as session:
        draft = session.draft()
        signed = open_list(draft, "targets", "other", NOON)
        for path, file in session.live.targets_of("targets").items():
            signed.targets[path] = TargetFile(file.length, {"sha256": "0" * 64}, path)
        commit(session.folder, draft, repository.created.ring, NOON)
    assert device.resolve().version == "1"


def test_key_rotation_makes_the_old_key_of_a_model_s_list_worthless(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]
) -> None:
    """Whoever has the old targets key, and the online keys too, signs a list as it pleases him."""
    rotate(repository.path, repository.created.ring, "targets", repository.folder / "new", now=NOON)
    assert device.resolve().version == "1"
    folder = mirror() / "metadata"
    old = load_keys([repository.keys / "targets"])
    listed = Metadata[Targets].from_file(str(folder / "2.targets~toy.json"))
    listed.signed.version = 3
    snapshot = Metadata[Snapshot].from_file(str(folder / "3.snapshot.json"))
    snapshot.signed.version = 4
    snapshot.signed.meta["targets~toy.json"] = MetaFile(3)
    for metadata, ring, name in ((listed, old, "3.targets~toy"), (snapshot, _online(repository), "4.snapshot")):
        metadata.signatures.clear()
        ring.sign(metadata, list(ring))
        metadata.to_file(str(folder / f"{name}.json"))
    _forge(repository, folder.parent, lambda timestamp: setattr(timestamp, "snapshot_meta", MetaFile(4)))
    refused(device, "not to be trusted", "targets~toy")


def test_mix_and_match_of_a_model_and_another_one_s_chunk_index(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]
) -> None:
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)
    folder = mirror()
    (old,) = folder.glob("targets/models/toy/1/*.chunks")
    (new,) = folder.glob("targets/models/toy/2/*.chunks")
    new.write_bytes(old.read_bytes())
    refused(device, "not what was signed")


@pytest.mark.parametrize(
    ("part", "most_bytes"), [("timestamp.json", 40_000), ("latest.json", 8_000), ("snapshot.json", 40_000)]
)
def test_endless_data(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path], web: Web, part: str, most_bytes: int
) -> None:
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, now=NOON)

    def endless(handler: Handler, content: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b" " * 1024)

    web.faults[part] = endless
    before = device.meter.fetched_bytes
    refused(device)
    assert device.meter.fetched_bytes - before < most_bytes


def test_endless_data_in_place_of_chunks(repository: Repository, device: FetchingDevice, web: Web) -> None:
    repository.publish("2", files={"model.onnx": OTHER}, now=NOON)

    def endless(handler: Handler, content: bytes) -> None:
        first, end = handler.asked(content)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b"x" * 1024)

    found = device.resolve()
    web.faults["model.onnx"] = endless
    before = device.meter.fetched_bytes
    with pytest.raises(UpdateError, match="wrong SHA-256"):
        device.download(found)
    assert device.meter.fetched_bytes - before < 9 * 128 * 1024


def test_wrong_keys(tmp_path: Path, device: FetchingDevice, web: Web) -> None:
    """Another publisher's repository, right in itself."""
    (tmp_path / "other").mkdir()
    other = new_repository(tmp_path / "other", now=NOON)
    other.publish("2", files={"model.onnx": OTHER}, now=NOON)
    web.folder = other.path
    refused(device, "not to be trusted")


def test_wrong_keys_as_root_of_trust(tmp_path: Path, device: FetchingDevice, repository: Repository, web: Web) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(b"{}")
    stranger = FetchingDevice(tmp_path / "stranger", root, web.url)
    refused(stranger, "root of trust", kind=ConfigError)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_key_rotation(repository: Repository, device: FetchingDevice, role: str) -> None:
    """A device that knows the first root only follows; what the old keys sign from then on is nothing."""
    changed = rotate(repository.path, repository.created.ring, role, repository.folder / "new", now=NOON)
    assert not changed.lacking
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, ring=changed.ring, now=NOON)
    assert device.resolve().version == "2"


def test_key_rotation_makes_the_old_key_worthless(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]
) -> None:
    rotate(repository.path, repository.created.ring, "timestamp", repository.folder / "new", now=NOON)
    assert device.resolve().version == "1"
    _forge(repository, mirror(), lambda timestamp: None)  # with the key from before
    refused(device, "not to be trusted")


def test_a_root_signed_by_the_new_keys_alone(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path]
) -> None:
    """Who can only make keys cannot make himself the publisher."""
    changed = rotate(repository.path, repository.created.ring, "root", repository.folder / "new", now=NOON)
    path = mirror() / "metadata" / "2.root.json"
    root = Metadata.from_file(str(path))
    own = load_keys([repository.folder / "new"])
    root.signatures.clear()
    own.sign(root, list(own))
    root.to_file(str(path))
    assert changed.keys
    refused(device, "not to be trusted", "root")


def test_a_compromised_timestamp_key(
    repository: Repository, device: FetchingDevice, mirror: Callable[[], Path], web: Web
) -> None:
    """It can neither bring software nor, once the key is replaced, keep devices from what is new."""
    folder = mirror()
    _forge(repository, folder, lambda timestamp: setattr(timestamp, "version", 2**30))
    assert device.resolve().version == "1"

    def invent(timestamp: Timestamp) -> None:
        timestamp.version = 2**30 + 1
        timestamp.snapshot_meta.version = 99
        timestamp.snapshot_meta.hashes = {"sha256": "0" * 64}

    (folder / "metadata" / "99.snapshot.json").write_bytes((folder / "metadata" / "2.snapshot.json").read_bytes())
    _forge(repository, folder, invent)
    refused(device)

    web.folder = repository.path
    refused(device, "version")  # the real timestamp is older than what the thief has signed
    changed = rotate(repository.path, repository.created.ring, "timestamp", repository.folder / "new", now=NOON)
    changed = rotate(repository.path, changed.ring, "snapshot", repository.folder / "newer", now=NOON)
    repository.publish("2", files={"model.onnx": SOFTWARE + b"2"}, ring=changed.ring, now=NOON)
    assert device.resolve().version == "2"


@pytest.mark.parametrize(("role", "days"), [("root", 366), ("targets", 366), ("snapshot", 31), ("timestamp", 8)])
def test_expired_metadata(repository: Repository, device: FetchingDevice, role: str, days: int) -> None:
    """Whichever role it is: all others are renewed."""
    now = NOON + days * DAY
    kinds = ["root", "targets", "snapshot", "timestamp"]
    keys = [repository.keys / kind for kind in kinds if kind != role]
    ring = load_keys([path for path in keys if path.is_dir()])
    if role == "timestamp":
        pass  # nobody renews it
    elif role == "snapshot":
        _forge(repository, repository.path, lambda timestamp: _bump(timestamp, now))
    else:
        renew(repository.path, ring, now=now)
    device.wall_s = now.timestamp()
    refused(device, "has expired", role)
    renew(repository.path, repository.created.ring, now=now)
    assert device.resolve().version == "1"


def test_a_clock_in_1970(repository: Repository, device: FetchingDevice) -> None:
    """It believes what it learned before: updates go on, and expired metadata stays expired."""
    device.wall_s = 0.0
    assert device.resolve().version == "1"
    device.wall_s = (NOON + 6 * DAY).timestamp()
    assert device.resolve().version == "1"
    renew(repository.path, repository.created.ring, now=NOON - 3 * DAY)  # over on the fourth day
    device.wall_s = 0.0
    refused(device, "has expired", "2027-03-07")


def test_a_clock_in_1970_on_a_device_that_knows_nothing_yet(tmp_path: Path, web: Web, repository: Repository) -> None:
    old = RELEASED - 400 * DAY
    (tmp_path / "old").mkdir()
    made = new_repository(tmp_path / "old", now=old)
    made.publish("1", now=old)
    with Web(made.path) as serving:
        new = FetchingDevice(tmp_path / "new", made.created.root, serving.url)
        new.wall_s = 0.0
        refused(new, "has expired", f"{RELEASED:%Y-%m-%d}")


def test_a_clock_that_is_ahead_does_not_last(repository: Repository, device: FetchingDevice) -> None:
    device.wall_s = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    refused(device, "has expired", "2099-01-01")
    device.wall_s = NOON.timestamp()
    assert device.resolve().version == "1"


def _forge(repository: Repository, folder: Path, change: Callable[[Timestamp], object]) -> None:
    """A newer timestamp in `folder`, signed with the first timestamp key."""
    path = folder / "metadata" / "timestamp.json"
    forged = Metadata[Timestamp].from_file(str(path))
    forged.signed.version += 1
    change(forged.signed)
    forged.signatures.clear()
    ring = load_keys([repository.keys / "timestamp"])
    ring.sign(forged, list(ring))
    forged.to_file(str(path))


def _online(repository: Repository) -> KeyRing:
    return load_keys([repository.keys / "snapshot", repository.keys / "timestamp"])


def _bump(timestamp: Timestamp, now: datetime) -> None:
    timestamp.expires = now + 7 * DAY
