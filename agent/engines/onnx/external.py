"""Which files an ONNX graph says its weights are in, read from the graph without loading it.

A graph names those files itself, and so could name any file of the machine. The bytes are walked as protobuf fields,
without an ONNX library: https://protobuf.dev/programming-guides/encoding/, the field numbers from
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import ModelLoadError

DEPTH_LIMIT: Final = 32
"""Graphs within graphs, each four messages deep."""

# From a message, the fields to go down into; every other field is stepped over.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _SPARSE, _TENSOR, _FUNCTION, _ENTRY = range(8)
_BELOW: Final[dict[int, dict[int, int]]] = {
    _MODEL: {7: _GRAPH, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {13: _ENTRY},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
}
_ENTRY_KEY: Final = 1
_ENTRY_VALUE: Final = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Malformed(Exception):
    """The bytes are not those of a protobuf message."""


def check_external_data(path: Path) -> None:
    """Raises `ModelLoadError` where the graph in `path` is not protobuf, or has data outside its own folder."""
    folder = path.parent.resolve()
    for location in sorted(external_locations(path)):
        place = Path(location)
        shown = ascii(location)[:120]
        # "\0" would end the name for the operating system, so what is checked would not be what is opened.
        if not location or "\0" in location or place.is_absolute() or ".." in place.parts or "\\" in location:
            raise ModelLoadError(f"{path.name} has weights in {shown}, which is not a file of its folder.", hint=_HINT)
        found = path.parent / place
        if not found.is_file():
            raise ModelLoadError(f"{path.name} has weights in {shown}, and that file is missing.", hint=_HINT)
        if not found.resolve().is_relative_to(folder):
            raise ModelLoadError(
                f"{path.name} has weights in {shown}, a link that leads out of its folder.", hint=_HINT
            )


_HINT: Final = "Import or convert the model again, from a source that you trust."


def external_locations(path: Path) -> set[str]:
    """The `location` of every tensor whose data is not in the file. Raises `ModelLoadError`."""
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise ModelLoadError(f"{path.name} is empty.", hint=_HINT)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return set(_locations(data))
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read: {error.strerror}.") from error
    except _Malformed as error:
        raise ModelLoadError(f"{path.name} is not an ONNX graph, or is cut off: {error}.", hint=_HINT) from None


def _locations(data: mmap.mmap) -> Iterator[str]:
    pending = [(_MODEL, 0, len(data), 0)]
    while pending:
        message, start, end, depth = pending.pop()
        if depth > DEPTH_LIMIT * 4:
            raise _Malformed("graphs are nested too deep")
        if message == _ENTRY:
            entry = dict(_fields(data, start, end))
            key, value = entry.get(_ENTRY_KEY, (0, 0)), entry.get(_ENTRY_VALUE, (0, 0))
            if data[slice(*key)] == b"location":
                yield data[slice(*value)].decode("utf-8", "backslashreplace")
            continue
        below = _BELOW[message]
        for number, (begin, finish) in _fields(data, start, end):
            if number in below:
                pending.append((below[number], begin, finish, depth + 1))


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """The number and the span of each length-delimited field between `start` and `end`."""
    while start < end:
        tag, start = _varint(data, start, end)
        kind = tag & 7
        if kind == _VARINT:
            _, start = _varint(data, start, end)
        elif kind == _FIXED64:
            start += 8
        elif kind == _FIXED32:
            start += 4
        elif kind == _BYTES:
            size, start = _varint(data, start, end)
            if size > end - start:
                raise _Malformed("a field is longer than what holds it")
            yield tag >> 3, (start, start + size)
            start += size
        else:
            raise _Malformed(f"a field of kind {kind}")
    if start > end:
        raise _Malformed("a number ends outside of its message")


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if start >= end:
            raise _Malformed("a number is cut off")
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
    raise _Malformed("a number of more than 10 bytes")
