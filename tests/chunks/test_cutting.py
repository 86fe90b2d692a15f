"""Cuts depend on the bytes near them alone, and never change: they are part of the format."""

from __future__ import annotations

import hashlib
import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from agent.chunks import cutting
from agent.chunks.cutting import MIN_CHUNK_BYTES, WINDOW_BYTES, cut, gear_hashes, index_of, pieces, pieces_between
from agent.chunks.index import MAX_CHUNK_BYTES, ChunkIndex

MB = 1_000_000
GOLDEN = [90351, 59977, 63171, 66676, 42184, 61641]


def noise(count: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(count)


def index(data: bytes) -> ChunkIndex:
    return index_of(pieces(io.BytesIO(data)))


def moved_bytes(old: bytes, new: bytes) -> int:
    """What a device that has `old` must fetch to have `new`."""
    held = {chunk.sha256 for chunk in index(old)}
    return sum(chunk.length for chunk in index(new) if chunk.sha256 not in held)


@pytest.mark.parametrize("count", [0, 1, MIN_CHUNK_BYTES - 1, MIN_CHUNK_BYTES, MAX_CHUNK_BYTES, 1024 * 1024, 3 * MB])
def test_the_chunks_together_are_the_file(count: int) -> None:
    data = noise(count)
    assert b"".join(bytes(piece) for piece in pieces(io.BytesIO(data))) == data
    listed = index(data)
    assert (listed.bytes, listed.sha256) == (count, hashlib.sha256(data).hexdigest())
    for chunk in listed:
        assert hashlib.sha256(data[chunk.offset : chunk.offset + chunk.length]).digest() == chunk.sha256


@pytest.mark.parametrize("data", [noise(8 * MB), bytes(MB), b"0123456789abcdef" * 65536, b"ab" * MB])
def test_no_chunk_is_smaller_or_larger_than_agreed(data: bytes) -> None:
    lengths = index(data).lengths
    assert max(lengths) <= MAX_CHUNK_BYTES
    assert min(lengths[:-1]) >= MIN_CHUNK_BYTES


def test_the_mean_of_random_bytes_is_64_kib() -> None:
    lengths = index(noise(16 * MB)).lengths
    assert 56 * 1024 < sum(lengths) / len(lengths) < 72 * 1024


def test_the_cuts_are_those_of_version_1() -> None:
    data = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(12_000))
    assert list(index(data).lengths) == GOLDEN


def test_a_hash_is_the_sum_it_says_it_is() -> None:
    data = np.frombuffer(noise(200), dtype=np.uint8)
    gear = [int(value) for value in cutting._GEAR]
    expected = [
        sum(gear[data[end - back]] << back for back in range(WINDOW_BYTES)) % 2**32
        for end in range(WINDOW_BYTES - 1, len(data))
    ]
    assert gear_hashes(data).tolist() == expected


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a byte changed", lambda data: data[: 2 * MB] + b"\x00" + data[2 * MB + 1 :]),
        ("some bytes inserted", lambda data: data[:MB] + b"a new chat template" + data[MB:]),
        ("some bytes at the start", lambda data: b"header" + data),
        ("some bytes removed", lambda data: data[:MB] + data[MB + 1000 :]),
        ("some bytes at the end", lambda data: data + b"trailer"),
    ],
)
def test_a_small_change_moves_few_chunks(name: str, change: object) -> None:
    data = noise(4 * MB, seed=1)
    assert callable(change)
    assert moved_bytes(data, change(data)) <= 4 * MAX_CHUNK_BYTES, name


def test_a_file_is_cut_as_its_bytes_are(tmp_path: Path) -> None:
    data = noise(2 * MB)
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    done: list[int] = []
    assert cut(path, done.append) == index(data)
    assert sum(done) == len(data)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir(), lambda path: None])
def test_what_is_no_file_is_an_error(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "odd")
    with pytest.raises(OSError):
        cut(tmp_path / "odd")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(32 * MB))
    tracemalloc.start()
    try:
        cut(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("places", [[1], [MIN_CHUNK_BYTES], [500_000, 500_001, 700_000], [3 * MB], [0, 10 * MB]])
def test_no_chunk_crosses_a_boundary(places: list[int]) -> None:
    data = noise(3 * MB)
    ends, done = [], 0
    for piece in pieces_between(io.BytesIO(data), places):
        assert bytes(piece) == data[done : done + len(piece)]
        assert len(piece) <= MAX_CHUNK_BYTES
        done += len(piece)
        ends.append(done)
    assert done == len(data)
    assert {place for place in places if 0 < place < len(data)} <= set(ends)


def test_after_a_boundary_the_cuts_do_not_depend_on_what_was_before() -> None:
    tensor = noise(2 * MB, seed=2)
    chunks = [
        list(index_of(pieces_between(io.BytesIO(noise(before, seed=before) + tensor), [before])).digests[-320:])
        for before in (1000, 400_000, MB)
    ]
    assert chunks[0] == chunks[1] == chunks[2]


class Trickle(io.RawIOBase):
    """A file that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), len(self._rest), 70_001)
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def test_how_a_file_is_read_does_not_move_its_cuts() -> None:
    data = noise(3 * MB)
    assert index_of(pieces_between(Trickle(data), [])) == index(data)  # type: ignore[arg-type]
