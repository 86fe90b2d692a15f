"""The chunk index is read from strangers: what is not one is refused in one sentence."""

from __future__ import annotations

import hashlib
import random
from array import array

import pytest

from agent.chunks.index import MAX_CHUNK_BYTES, MAX_CHUNKS, Chunk, ChunkIndex
from agent.errors import ArtifactError


def index_of(*chunks: bytes) -> ChunkIndex:
    digests = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    return ChunkIndex(hashlib.sha256(b"".join(chunks)).hexdigest(), array("I", map(len, chunks)), digests)


EXAMPLE = index_of(b"a" * 20_000, b"b" * MAX_CHUNK_BYTES, b"c")


def test_it_is_a_sequence_of_chunks() -> None:
    assert len(EXAMPLE) == 3
    assert EXAMPLE.bytes == 20_001 + MAX_CHUNK_BYTES
    assert EXAMPLE[0] == Chunk(0, 20_000, hashlib.sha256(b"a" * 20_000).digest())
    assert EXAMPLE[-1] == Chunk(20_000 + MAX_CHUNK_BYTES, 1, hashlib.sha256(b"c").digest())
    assert EXAMPLE[1:] == list(EXAMPLE)[1:]
    with pytest.raises(IndexError):
        EXAMPLE[3]


@pytest.mark.parametrize("index", [EXAMPLE, index_of()])
def test_what_is_encoded_is_decoded(index: ChunkIndex) -> None:
    again = ChunkIndex.decode(index.encode())
    assert again == index
    assert hash(again) == hash(index)
    assert list(again) == list(index)


def changed(at: int, value: bytes) -> bytes:
    data = EXAMPLE.encode()
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "does not start as one"),
        (b"GGUF" + bytes(100), "does not start as one"),
        (EXAMPLE.encode()[:50], "does not start as one"),
        (changed(7, b"\x02"), "of version 2"),
        (changed(8, b"\x00"), "its chunks have"),
        (changed(16, (MAX_CHUNKS + 1).to_bytes(4, "little")), "is the most"),
        (changed(16, b"\xff\xff\xff\xff"), "is the most"),
        (changed(16, b"\x04\x00\x00\x00"), "4 chunks take"),
        (changed(52, bytes(4)), "no bytes"),
        (changed(52, (MAX_CHUNK_BYTES + 1).to_bytes(4, "little")), "more than"),
        (changed(52, b"\xff\xff\xff\xff"), "more than"),
        (EXAMPLE.encode() + b"\x00", "3 chunks take"),
        (EXAMPLE.encode()[:-1], "3 chunks take"),
    ],
)
def test_what_is_no_index_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        ChunkIndex.decode(data)


def test_random_damage_is_refused_or_gives_an_index() -> None:
    draw, data = random.Random(0), EXAMPLE.encode()
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            found = ChunkIndex.decode(bytes(damaged[: draw.randint(0, len(data))] if draw.random() < 0.3 else damaged))
        except ArtifactError:
            continue
        assert found.encode() == bytes(damaged)
        assert sum(chunk.length for chunk in found) == found.bytes


def test_hashes_that_do_not_match_the_lengths_are_refused() -> None:
    with pytest.raises(ArtifactError, match="2 lengths and 1 hashes"):
        ChunkIndex("0" * 64, array("I", [1, 1]), bytes(32))
