"""Files brought into a folder: gone on with after anything, checked, and never filling the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import ArtifactError, DiskFullError, HashMismatchError, StoreError, UnavailableError
from agent.hub.client import Sink
from agent.hub.download import KEPT_S, PARTS, WAITS_S, Download, Wanted, folder_for, held, sweep
from agent.hub.faults import Interrupted
from agent.hub.repository import RemoteFile
from agent.store.durable import Filesystem
from tests.hub.hub_server import blob_sha1

LARGE = random.Random(1).randbytes(300_000)
SMALL = b'{"model_type": "bert"}'
BLOCK = 50_000


def wanted(*, large: bytes = LARGE) -> list[Wanted]:
    return [
        Wanted(
            file=RemoteFile(path="a-q4_0.gguf", bytes=len(large), sha256=hashlib.sha256(large).hexdigest()),
            path="model.gguf",
        ),
        Wanted(
            file=RemoteFile(path="x/config.json", bytes=len(SMALL), blob_sha1=blob_sha1(SMALL)), path="x/config.json"
        ),
    ]


class Line:
    """The connection: `fails` is asked before each block; `offsets` are where each try began."""

    def __init__(self, fails: Callable[[str, int], Exception | None] = lambda path, at: None) -> None:
        self.data = {"a-q4_0.gguf": LARGE, "x/config.json": SMALL}
        self.offsets: list[tuple[str, int]] = []
        self.fails = fails

    def fetch(self, file: RemoteFile, sink: Sink, have_bytes: int) -> None:
        self.offsets.append((file.path, have_bytes))
        data = self.data[file.path]
        for at in range(have_bytes, len(data), BLOCK):
            if (error := self.fails(file.path, at)) is not None:
                raise error
            sink.write(data[at : at + BLOCK])


def download(folder: Path, files: list[Wanted] | None = None, waits: list[float] | None = None) -> Download:
    """`waits` gets the pauses that were made, which take no time."""
    made: list[float] = [] if waits is None else waits
    return Download(folder, files or wanted(), margin_bytes=0, pause=made.append)


def once(error: Exception, at_byte: int, times: int = 1) -> Callable[[str, int], Exception | None]:
    left = [times]

    def fails(path: str, at: int) -> Exception | None:
        if path == "a-q4_0.gguf" and at == at_byte and left[0]:
            left[0] -= 1
            return error
        return None

    return fails


def test_every_file_is_where_it_belongs_with_its_hash(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    hashes = download(tmp_path).run(Line().fetch, lambda done, total: seen.append((done, total)))
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert (tmp_path / "x" / "config.json").read_bytes() == SMALL
    expected = {"model.gguf": LARGE, "x/config.json": SMALL}
    assert hashes == {path: hashlib.sha256(data).hexdigest() for path, data in expected.items()}
    assert seen[-1] == (len(LARGE) + len(SMALL),) * 2
    assert not list((tmp_path / PARTS).iterdir())


def test_a_cut_connection_is_taken_up_where_it_was_cut(tmp_path: Path) -> None:
    waits: list[float] = []
    line = Line(once(Interrupted("cut"), 2 * BLOCK, times=2))
    download(tmp_path, waits=waits).run(line.fetch)
    assert line.offsets == [
        ("a-q4_0.gguf", 0),
        ("a-q4_0.gguf", 2 * BLOCK),
        ("a-q4_0.gguf", 2 * BLOCK),
        ("x/config.json", 0),
    ]
    assert waits == [WAITS_S[0], WAITS_S[1]]


def test_it_gives_up_when_nothing_comes_any_more_and_keeps_what_came(tmp_path: Path) -> None:
    waits: list[float] = []
    line, bringing = Line(once(Interrupted("cut"), 2 * BLOCK, times=100)), download(tmp_path, waits=waits)
    with pytest.raises(Interrupted):
        bringing.run(line.fetch)
    assert waits == list(WAITS_S[: len(line.offsets) - 1])
    assert len(waits) == len(WAITS_S)
    assert bringing.present_bytes == 2 * BLOCK
    again = Line()
    download(tmp_path).run(again.fetch)
    assert again.offsets[0] == ("a-q4_0.gguf", 2 * BLOCK)


def test_a_server_may_say_how_long_to_wait(tmp_path: Path) -> None:
    waits: list[float] = []
    download(tmp_path, waits=waits).run(Line(once(Interrupted("busy", wait_s=30.0), 0)).fetch)
    assert waits == [30.0]


def test_an_error_for_good_ends_it_at_once(tmp_path: Path) -> None:
    line = Line(once(ArtifactError("gated"), BLOCK))
    with pytest.raises(ArtifactError, match="gated"):
        download(tmp_path).run(line.fetch)
    assert len(line.offsets) == 1


def test_a_server_that_knows_no_ranges_begins_again(tmp_path: Path) -> None:
    line = Line(once(Interrupted("cut"), BLOCK))
    original, counted = line.fetch, []

    def fetch(file: RemoteFile, sink: Sink, have_bytes: int) -> None:
        if have_bytes:  # as huggingface_hub does it
            sink.seek(max(sink.tell() - have_bytes, 0))
            sink.truncate()
        original(file, sink, 0)

    hashes = download(tmp_path).run(fetch, lambda done, total: counted.append(done))
    assert hashes["model.gguf"] == hashlib.sha256(LARGE).hexdigest()
    assert (tmp_path / "model.gguf").read_bytes() == LARGE
    assert max(counted) == counted[-1] == len(LARGE) + len(SMALL)


def test_a_library_that_does_not_see_it_begin_again_is_helped(tmp_path: Path) -> None:
    line = Line(once(Interrupted("cut"), BLOCK))
    original = line.fetch
    hashes = download(tmp_path).run(lambda file, sink, have_bytes: original(file, sink, 0))
    assert hashes["model.gguf"] == hashlib.sha256(LARGE).hexdigest()
    assert (tmp_path / "model.gguf").read_bytes() == LARGE


def test_damaged_bytes_are_not_kept(tmp_path: Path) -> None:
    line = Line()
    line.data["a-q4_0.gguf"] = LARGE[:-1] + b"\0"
    with pytest.raises(HashMismatchError, match=r"a-q4_0.gguf came damaged") as caught:
        download(tmp_path).run(line.fetch)
    assert caught.value.param == "a-q4_0.gguf"
    assert download(tmp_path).present_bytes == 0
    line.data["x/config.json"] = b'{"model_type": "evil"}'
    line.data["a-q4_0.gguf"] = LARGE
    with pytest.raises(HashMismatchError, match=r"x/config.json came damaged"):
        download(tmp_path).run(line.fetch)


@pytest.mark.parametrize("left", [b"\0" * BLOCK, LARGE[:BLOCK] + b"\0", LARGE + b"more", LARGE[:-1] + b"\0"])
def test_what_a_power_cut_spoiled_is_brought_again(tmp_path: Path, left: bytes) -> None:
    (tmp_path / PARTS).mkdir()
    (tmp_path / PARTS / hashlib.sha256(LARGE).hexdigest()).write_bytes(left)
    line = Line()
    assert download(tmp_path).run(line.fetch)["model.gguf"] == hashlib.sha256(LARGE).hexdigest()
    assert ("a-q4_0.gguf", 0) in line.offsets


def test_whole_files_of_an_earlier_run_are_read_again_not_brought(tmp_path: Path) -> None:
    download(tmp_path).run(Line().fetch)
    nothing = Line()
    download(tmp_path).run(nothing.fetch)
    assert nothing.offsets == []
    (tmp_path / "model.gguf").write_bytes(LARGE[:-1] + b"\0")
    again = Line()
    download(tmp_path).run(again.fetch)
    assert again.offsets == [("a-q4_0.gguf", 0)]


def test_parts_of_another_commit_are_forgotten(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        download(tmp_path).run(Line(once(Interrupted("cut"), BLOCK, times=100)).fetch)
    line = Line()
    line.data["a-q4_0.gguf"] = bytes(BLOCK)
    download(tmp_path, wanted(large=bytes(BLOCK))).run(line.fetch)
    assert line.offsets[0] == ("a-q4_0.gguf", 0)
    assert not list((tmp_path / PARTS).iterdir())


def test_more_than_was_promised_is_refused(tmp_path: Path) -> None:
    line = Line()
    line.data["a-q4_0.gguf"] = LARGE + b"more"
    with pytest.raises(ArtifactError, match=r"more of a-q4_0.gguf than the 300000 bytes"):
        download(tmp_path).run(line.fetch)
    assert (tmp_path / PARTS / hashlib.sha256(LARGE).hexdigest()).stat().st_size <= len(LARGE)


def test_less_than_was_promised_is_an_error(tmp_path: Path) -> None:
    line = Line()
    line.data["a-q4_0.gguf"] = LARGE[:BLOCK]
    with pytest.raises(UnavailableError, match=r"sent less of a-q4_0.gguf"):
        download(tmp_path).run(line.fetch)


class Disk(Filesystem):
    """With `free` bytes left."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free

    def free_bytes(self, folder: Path) -> int:
        return self.free


def test_it_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    bringing = Download(tmp_path, wanted(), margin_bytes=1_000_000, filesystem=Disk(999_999))
    with pytest.raises(DiskFullError, match="less than 1 MB are left") as caught:
        bringing.run(Line().fetch)
    assert str(tmp_path) in caught.value.hint
    Download(tmp_path, wanted(), margin_bytes=1_000_000, filesystem=Disk(1_000_000)).run(Line().fetch)


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.ENOSPC, DiskFullError, "0 MB of it are kept"),
        (errno.EDQUOT, DiskFullError, "0 MB of it are kept"),
        (errno.EIO, StoreError, "cannot be written: Input/output error"),
    ],
)
def test_what_the_disk_says_is_one_sentence(tmp_path: Path, number: int, kind: type[Exception], says: str) -> None:
    line = Line(once(OSError(number, os.strerror(number)), BLOCK))
    with pytest.raises(kind, match=says):
        download(tmp_path).run(line.fetch)
    assert download(tmp_path).present_bytes == BLOCK


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = tmp_path / "folder"
    (folder / PARTS).mkdir(parents=True)
    (folder / PARTS / hashlib.sha256(LARGE).hexdigest()).symlink_to(victim)
    with pytest.raises(StoreError):
        download(folder).run(Line().fetch)
    assert victim.read_bytes() == b"precious"


def test_two_pulls_of_the_same_do_not_meet(tmp_path: Path) -> None:
    folder = folder_for(tmp_path / "downloads", "o/r", wanted())
    with held(folder):
        with pytest.raises(UnavailableError, match="Another pull of the same files"), held(folder):
            pass
        with held(folder_for(tmp_path / "downloads", "o/r", wanted()[:1])):
            pass
    with held(folder):
        pass


def test_what_nobody_goes_on_with_is_removed_after_two_weeks(tmp_path: Path) -> None:
    for name in ("old", "held", "new"):
        (tmp_path / name / PARTS).mkdir(parents=True)
        (tmp_path / name / PARTS / "half").write_bytes(b"half")
    now = time.time()
    for path in (*tmp_path.glob("old/**/*"), *tmp_path.glob("held/**/*"), tmp_path / "old", tmp_path / "held"):
        os.utime(path, (now - KEPT_S - 60,) * 2)
    with held(tmp_path / "held"):
        sweep(tmp_path, now)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held", "new"]
    sweep(tmp_path / "nowhere", now)
