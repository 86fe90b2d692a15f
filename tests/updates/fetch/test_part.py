"""Files that come in pieces: killed, cut off from power, on a disk that is full; and their lists of chunks."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agent.chunks.cutting import cut
from agent.chunks.index import ChunkIndex
from agent.errors import DiskFullError, StoreError, UntrustedError
from agent.store.durable import Filesystem
from agent.updates.fetch.faults import HeldError
from agent.updates.fetch.listing import Listing, single_chunk
from agent.updates.fetch.meter import BURST_S, Meter
from agent.updates.fetch.part import PartialFile
from agent.updates.fetch.transport import Wanted

DATA = np.random.default_rng(5).bytes(700_000)
BOOT = "0" * 36


@pytest.fixture
def index(tmp_path: Path) -> ChunkIndex:
    (tmp_path / "source").write_bytes(DATA)
    (tmp_path / "work").mkdir()
    return cut(tmp_path / "source")


def listed(index: ChunkIndex) -> list[Wanted]:
    return [Wanted(number, *chunk) for number, chunk in enumerate(index)]


def part(tmp_path: Path, index: ChunkIndex, boot: str = BOOT, **options: object) -> PartialFile:
    return PartialFile(
        tmp_path / "model.onnx",
        tmp_path / "work",
        size_bytes=index.bytes,
        sha256=index.sha256,
        count=len(index),
        boot=boot,
        **options,  # type: ignore[arg-type]
    )


def put(partial: PartialFile, *chunks: Wanted) -> None:
    for chunk in chunks:
        partial.put(chunk, DATA[chunk.offset : chunk.offset + chunk.length])


def test_its_room_is_taken_and_its_chunks_are_remembered(tmp_path: Path, index: ChunkIndex) -> None:
    chunks = listed(index)
    with part(tmp_path, index) as partial:
        put(partial, chunks[0], chunks[-1])
    (file,) = (tmp_path / "work").glob("*.part")
    assert file.stat().st_size == len(DATA)
    assert file.stat().st_blocks * 512 >= len(DATA)
    with part(tmp_path, index) as partial:
        assert partial.believed
        assert [chunk.number for chunk in chunks if chunk.number in partial] == [0, len(chunks) - 1]
        put(partial, *chunks[1:-1])
        assert partial.sha256_of_all() == index.sha256
        partial.finish()
    assert (tmp_path / "model.onnx").read_bytes() == DATA
    assert not list((tmp_path / "work").iterdir())


def test_after_another_boot_what_the_disk_lost_is_found_out(tmp_path: Path, index: ChunkIndex) -> None:
    chunks = listed(index)
    with part(tmp_path, index) as partial:
        put(partial, *chunks)
    (file,) = (tmp_path / "work").glob("*.part")
    with file.open("r+b") as damaged:
        damaged.seek(chunks[2].offset + 5)
        damaged.write(b"\0\0\0\0\0\0\0\0")
    with part(tmp_path, index, boot="1" * 36) as partial:
        assert not partial.believed
        assert partial.check(chunks) == 1
        assert [chunk.number for chunk in chunks if chunk.number not in partial] == [2]
    with part(tmp_path, index, boot="1" * 36) as partial:
        assert partial.believed


@pytest.mark.parametrize("damage", ["cut", "magic", "gone", "data gone", "data cut"])
def test_a_broken_journal_means_from_the_beginning(tmp_path: Path, index: ChunkIndex, damage: str) -> None:
    with part(tmp_path, index) as partial:
        put(partial, *listed(index))
    (bits,), (data,) = (tmp_path / "work").glob("*.bits"), (tmp_path / "work").glob("*.part")
    content = bits.read_bytes()
    match damage:
        case "cut":
            bits.write_bytes(content[:-1])
        case "magic":
            bits.write_bytes(b"X" + content[1:])
        case "gone":
            bits.unlink()
        case "data gone":
            data.unlink()
        case "data cut":
            os.truncate(data, 1000)
    with part(tmp_path, index) as partial:
        assert not any(chunk.number in partial for chunk in listed(index))
        put(partial, *listed(index))
        assert partial.sha256_of_all() == index.sha256


def test_a_disk_without_room_is_refused_before_a_byte_comes(tmp_path: Path, index: ChunkIndex) -> None:
    full = Filesystem(statvfs=lambda path: SimpleNamespace(f_bavail=1000, f_frsize=1000))  # type: ignore[arg-type, return-value]
    with pytest.raises(DiskFullError, match=r"needs 1 MB more, 64 MB have to stay free, and .* has 1 MB"):
        part(tmp_path, index, files=full)
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("step", ["allocate", "write", "fsync", "rename", "unlink"])
@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EIO, StoreError)])
def test_a_disk_that_fails_later(
    tmp_path: Path, index: ChunkIndex, step: str, code: int, kind: type[StoreError]
) -> None:
    """Whichever step it is: a clear error, and it goes on when the disk does."""

    def fail(name: str) -> None:
        if name.startswith(step):
            raise OSError(code, os.strerror(code))

    def whole(files: Filesystem) -> None:
        with part(tmp_path, index, files=files) as partial:
            put(partial, *(chunk for chunk in listed(index) if chunk.number not in partial))
            assert partial.sha256_of_all() == index.sha256
            partial.finish()

    with pytest.raises(kind, match=r"model\.onnx"):
        whole(Filesystem(fail))
    if not (tmp_path / "model.onnx").exists():
        whole(Filesystem())
    assert (tmp_path / "model.onnx").read_bytes() == DATA


def test_a_listing_is_what_the_index_says(tmp_path: Path, index: ChunkIndex) -> None:
    path = tmp_path / "list.chunks"
    path.write_bytes(index.encode())
    with Listing(path, size_bytes=index.bytes, sha256=index.sha256) as listing:
        assert list(listing) == listed(index)
        assert listing.count == len(index)


@pytest.mark.parametrize("size", [0, 1, 128 * 1024])
def test_the_list_of_a_small_file(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(DATA[:size])
    expected = cut(tmp_path / "file")
    path = tmp_path / "list.chunks"
    path.write_bytes(single_chunk(size, expected.sha256))
    with Listing(path, size_bytes=size, sha256=expected.sha256) as listing:
        assert sum(chunk.length for chunk in listing) == size


def test_a_listing_that_lies_is_not_read(tmp_path: Path, index: ChunkIndex) -> None:
    good = index.encode()
    spoiled = {
        "empty": b"",
        "magic": b"X" + good[1:],
        "version": good[:7] + b"\2" + good[8:],
        "count": good[:16] + b"\xff\xff\xff\xff" + good[20:],
        "another file": good[:20] + b"\0" * 32 + good[52:],
        "a length of 0": good[:52] + b"\0\0\0\0" + good[56:],
        "a long chunk": good[:52] + b"\0\0\0\1" + good[56:],
        "cut short": good[:-1],
        "longer": good + b"x",
    }
    for what, data in spoiled.items():
        path = tmp_path / f"{what}.chunks"
        path.write_bytes(data)
        with pytest.raises(UntrustedError, match=f"{what}.chunks is no chunk index"):
            Listing(path, size_bytes=index.bytes, sha256=index.sha256).close()


def test_the_meter_keeps_to_a_rate_and_to_a_limit() -> None:
    now = [0.0]
    meter = Meter(lambda: now[0])
    assert meter.ready
    meter.allow(10_000, 1_000.0)
    meter.count(1_000)
    assert not meter.ready
    now[0] = 1.01
    assert meter.ready
    now[0] = 100.0  # what was not used is not saved up for long
    meter.count(int(1_000 * BURST_S) + 1)
    assert not meter.ready
    meter.allow(meter.fetched_bytes, None)
    assert meter.left_bytes == 0
    with pytest.raises(HeldError):
        meter.wait(patience_s=0.0)
    meter.allow(None, None)
    meter.wait(patience_s=0.0)
