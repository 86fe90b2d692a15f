"""Where the tensors of a GGUF file begin: cuts there keep a changed tensor from taking parts of its neighbors along.

Only the table of tensors is read (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md); everything before it is
skipped. A file that is no GGUF, or a broken one, has no such places: it can be cut all the same.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import BinaryIO, Final

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""Of everything before the data; large vocabularies take some 20 MB."""
_TENSORS: Final = 65_536
_BUFFER_BYTES: Final = 256 * 1024
_STRING: Final = 8
_ARRAY: Final = 9
_WIDTHS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the other types of values."""
_NUMBERS: Final = {4: "<I", 10: "<Q"}
_DIMENSIONS: Final = 8
_ALIGNMENT: Final = 32


class _NotReadable(Exception):
    pass


def tensor_starts(file: BinaryIO) -> list[int]:
    """Offsets in the file, which stands at its start, ascending; empty where it is no GGUF that can be read.

    Raises `OSError`.
    """
    buffered = io.BufferedReader(file, _BUFFER_BYTES)  # type: ignore[type-var]
    try:
        return _Reader(buffered).starts()
    except _NotReadable:
        return []
    finally:
        buffered.detach()


def boundaries(starts: Sequence[int], total_bytes: int, least_bytes: int) -> list[int]:
    """Those of `starts` with at least `least_bytes` to the one before or the one after: runs of small tensors stay
    together."""
    places = [start for start in starts if 0 < start < total_bytes]
    if not places:
        return []
    gaps = [stop - start for start, stop in pairwise([0, *places, total_bytes])]
    return [
        place for place, gap, next_gap in zip(places, gaps, gaps[1:], strict=False) if max(gap, next_gap) >= least_bytes
    ]


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self._alignment = _ALIGNMENT

    def starts(self) -> list[int]:
        if self._bytes(4) != MAGIC or self._number("<I") not in _VERSIONS:
            raise _NotReadable
        tensors, values = self._number("<Q"), self._number("<Q")
        if tensors > _TENSORS:
            raise _NotReadable
        for _ in range(values):
            self._value()
        offsets = {self._tensor() for _ in range(tensors)}
        data = -(-self._at // self._alignment) * self._alignment
        return sorted(data + offset for offset in offsets)

    def _value(self) -> None:
        key = self._bytes(self._number("<Q"))
        kind = self._number("<I")
        if key == b"general.alignment" and kind in _NUMBERS:
            self._alignment = self._number(_NUMBERS[kind])
            if not 1 <= self._alignment <= _LIMIT_BYTES:
                raise _NotReadable
        elif kind == _ARRAY:
            self._array()
        elif kind == _STRING:
            self._bytes(self._number("<Q"))
        else:
            self._skip(kind, 1)

    def _array(self) -> None:
        kind, count = self._number("<I"), self._number("<Q")
        if kind != _STRING:
            self._skip(kind, count)
            return
        for _ in range(count):  # each takes eight bytes at least, so that the limit ends this
            self._bytes(self._number("<Q"))

    def _skip(self, kind: int, count: int) -> None:
        if kind not in _WIDTHS:
            raise _NotReadable
        self._advance(_WIDTHS[kind] * count)
        self._file.seek(self._at)

    def _tensor(self) -> int:
        self._bytes(self._number("<Q"))
        dimensions = self._number("<I")
        if dimensions > _DIMENSIONS:
            raise _NotReadable
        self._bytes(8 * dimensions + 4)
        return self._number("<Q")

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._bytes(struct.calcsize(form)))[0])

    def _bytes(self, count: int) -> bytes:
        self._advance(count)
        data = self._file.read(count)
        if len(data) != count:
            raise _NotReadable
        return data

    def _advance(self, count: int) -> None:
        self._at += count
        if self._at > _LIMIT_BYTES:
            raise _NotReadable
