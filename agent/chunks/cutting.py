"""Where a file is cut: at places that its own bytes choose, so that an insertion moves only the cuts near it.

A place is one where the gear hash of the last 32 bytes is small (FastCDC, Xia et al., USENIX ATC 2016, with its
normalized sizes: a rarer condition before the wanted size, a commoner one after it). With wrapping 32-bit numbers

    h[i] = sum over k < 32 of GEAR[byte[i - k]] << k

which numpy makes by doubling the window five times: h2[i] = h1[i] + (h1[i-1] << 1), h4[i] = h2[i] + (h2[i-2] << 2) ...

In a GGUF file large tensors are cut apart as well, and each begins anew: what changes is mostly whole tensors.

The cuts are part of the format: a device that cuts its own files finds in them what a publisher listed only as long as
both cut alike. Numpy: import this in child processes and in convert, not in the daemon.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from agent.chunks.index import MAX_CHUNK_BYTES, ChunkIndex
from agent.chunks.tensors import boundaries, tensor_starts
from agent.store.durable import opened

MIN_CHUNK_BYTES: Final = 16 * 1024
NORMAL_CHUNK_BYTES: Final = 56 * 1024
"""Where the condition becomes the commoner one; the mean of random bytes is 64 KiB."""
WINDOW_BYTES: Final = 32

_RARE: Final = 2**32 // (96 * 1024)
_COMMON: Final = 2**32 // (20 * 1024)
"""A hash below it is a cut: once in 96 KiB, and once in 20 KiB."""
_STEP_BYTES: Final = 32 * 1024
"""Hashed at a time: its arrays stay in the processor's cache."""
_BUFFER_BYTES: Final = 1024 * 1024

_GEAR: Final = np.frombuffer(
    b"".join(hashlib.sha256(b"edge-agent gear %d" % value).digest()[:4] for value in range(256)), dtype="<u4"
).astype(np.uint32)

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def pieces(file: BinaryIO) -> Iterator[memoryview]:
    """The chunks of a file that can be sought in, from its start to its end, each valid until the next is asked for.

    Memory: about 2 MB, for any size. Raises `OSError`.
    """
    file.seek(0)
    starts = tensor_starts(file)
    total_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    yield from pieces_between(file, boundaries(starts, total_bytes, MIN_CHUNK_BYTES))


def pieces_between(file: BinaryIO, boundaries: Sequence[int]) -> Iterator[memoryview]:
    """The chunks of `file` from where it stands, none across a boundary; boundaries count from there, and ascend."""
    buffer = bytearray(_BUFFER_BYTES)
    view, data = memoryview(buffer), np.frombuffer(buffer, dtype=np.uint8)
    start = end = 0
    done, stops, more = 0, deque(boundaries), True
    while True:
        if more and end - start < MAX_CHUNK_BYTES:
            view[: end - start] = bytes(view[start:end])
            start, end = 0, end - start
            while end < _BUFFER_BYTES and (count := file.readinto(view[end:])):  # type: ignore[attr-defined]
                end += count
            more = end == _BUFFER_BYTES
        if start == end:
            return
        while stops and stops[0] <= done:
            stops.popleft()
        room = min(end - start, MAX_CHUNK_BYTES, stops[0] - done if stops else MAX_CHUNK_BYTES)
        length = next_cut(data[start : start + room])
        yield view[start : start + length]
        start += length
        done += length


def next_cut(data: Bytes) -> int:
    """Length of the first chunk of `data`, uint8 (n,): all up to a place to cut, or `MAX_CHUNK_BYTES`."""
    for start, stop, below in (
        (MIN_CHUNK_BYTES, min(NORMAL_CHUNK_BYTES, len(data)), _RARE),
        (NORMAL_CHUNK_BYTES, len(data), _COMMON),
    ):
        for at in range(start, stop, _STEP_BYTES):
            hashes = gear_hashes(data[at - WINDOW_BYTES : min(at + _STEP_BYTES, stop) - 1])
            found = np.flatnonzero(hashes < below)
            if len(found):
                return at + int(found[0])
    return len(data)


def gear_hashes(data: Bytes) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The gear hash after every whole window: uint8 (n,) to uint32 (n - 31,)."""
    hashes = _GEAR[data]
    width = 1
    while width < WINDOW_BYTES:
        hashes = hashes[width:] + (hashes[:-width] << np.uint32(width))
        width *= 2
    return hashes


def cut(path: Path, on_bytes: Callable[[int], object] = lambda count: None) -> ChunkIndex:
    """The index of a file. `on_bytes` is told how many bytes were done since the last time. Raises `OSError`, and
    `ArtifactError` for a file with too many chunks."""
    with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        return index_of(pieces(file), on_bytes)


def index_of(chunks: Iterator[memoryview], on_bytes: Callable[[int], object] = lambda count: None) -> ChunkIndex:
    """The index of a file that is cut into `chunks`. Raises as `cut` does."""
    whole, lengths, digests = hashlib.sha256(), array("I"), bytearray()
    for chunk in chunks:
        whole.update(chunk)
        lengths.append(len(chunk))
        digests += hashlib.sha256(chunk).digest()
        on_bytes(len(chunk))
    return ChunkIndex(whole.hexdigest(), lengths, bytes(digests))
