"""The header of a GGUF file: its metadata, and where each tensor is. Nothing of the weights is read.

The format is described in ggml's docs/gguf.md. The file is hostile until proven otherwise: every count and length is
held against the size of the file before it is believed, and every error names the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from agent.errors import ArtifactError
from agent.store.gguf_source import split_parts
from agent.store.probe_report import one_line
from convert.quantization.ggml import TensorType, types_by_number

MAGIC: Final = b"GGUF"
DEFAULT_ALIGNMENT: Final = 32
KEPT_VALUES: Final = 1024
"""Arrays longer than this (vocabularies) are skipped: only their length is kept."""

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_NAME_LIMIT_BYTES: Final = 64
_TEXT_LIMIT_BYTES: Final = 1 << 24
_HINT: Final = "Download or convert it again."


@dataclass(frozen=True)
class Skipped:
    """An array too long to be kept: how many values it has."""

    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. `shape` is in elements, the length of a row first; `offset` counts from the file's start."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    bytes: int


@dataclass(frozen=True)
class Header:
    """All of a GGUF model except its weights. Of a split model `paths` are all parts, and `tensors` those of all."""

    paths: tuple[Path, ...]
    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]
    header_bytes: int

    @property
    def path(self) -> Path:
        return self.paths[0]

    @property
    def file_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)

    @property
    def architecture(self) -> str:
        return one_line(str(self.metadata.get("general.architecture", "")))

    @property
    def layers(self) -> int:
        """How many layers the metadata says there are; 0 where it does not."""
        count = self.metadata.get(f"{self.architecture}.block_count", 0)
        return count if isinstance(count, int) else 0


def read_header(path: Path) -> Header:
    """The header of a GGUF file, or of all parts of a split one.

    Raises `ArtifactError` for what is missing, unreadable, not GGUF, inconsistent, or shorter than its tensors.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file." if path.exists() else f"{path} does not exist.")
    parts = split_parts(path)
    headers = [_read_one(part) for part in parts]
    tensors: dict[str, StoredTensor] = {}
    for header in headers:
        for name, tensor in header.tensors.items():
            if name in tensors:
                raise ArtifactError(f"{header.path.name} has the tensor {name} twice.", hint=_HINT)
            tensors[name] = tensor
    return Header(tuple(parts), headers[0].metadata, tensors, sum(header.header_bytes for header in headers))


def _read_one(path: Path) -> Header:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            reader = _Reader(file, size)
            return _read_header(path, reader)
    except _Fault as fault:
        raise ArtifactError(f"{path} {fault}.", hint=_HINT) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None


class _Fault(Exception):
    """What is wrong with the file, to be said after its name."""


class _Reader:
    """Little-endian values from a file of `size` bytes; never asks for more than is left."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file = file
        self._left = size
        self.size = size

    @property
    def position(self) -> int:
        return self.size - self._left

    def take(self, count: int) -> bytes:
        if count > self._left:
            raise _Fault("ends in the middle of its header: it is truncated, or not GGUF")
        self._left -= count
        return self._file.read(count)

    def skip(self, count: int) -> None:
        if count > self._left:
            raise _Fault("ends in the middle of its header: it is truncated, or not GGUF")
        self._left -= count
        self._file.seek(count, 1)

    def number(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}")))[0]

    def text(self) -> str:
        length: int = self.number("Q")
        if length > _TEXT_LIMIT_BYTES:
            raise _Fault(f"has a text of {length} bytes in its header, which no model has")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise _Fault(f"has metadata of the unknown type {kind}")
        return self.number(_SCALARS[kind])

    def _array(self) -> list[Any] | Skipped:
        kind, count = self.number("I"), self.number("Q")
        if kind == _ARRAY:
            raise _Fault("has arrays within arrays in its metadata, which no model has")
        if count <= min(KEPT_VALUES, self._left):
            return [self.value(kind) for _ in range(count)]
        if kind == _STRING:
            if count > self._left // 8:
                raise _Fault(f"says that it has {count} texts in an array, more than it has room for")
            for _ in range(count):
                self.skip(self.number("Q"))
        elif kind in _SCALARS:
            self.skip(count * struct.calcsize(f"<{_SCALARS[kind]}"))
        else:
            raise _Fault(f"has metadata of the unknown type {kind}")
        return Skipped(count)


def _read_header(path: Path, reader: _Reader) -> Header:
    if reader.size < 4 or reader.take(4) != MAGIC:
        raise _Fault("is not a GGUF file: it does not begin with GGUF")
    version = reader.number("I")
    if version not in (2, 3):
        known = "big-endian" if version in (0x02000000, 0x03000000) else f"of version {version}"
        raise _Fault(f"is a GGUF file {known}; this can read versions 2 and 3, little-endian")
    tensor_count, value_count = reader.number("Q"), reader.number("Q")
    if tensor_count > reader.size // 24 or value_count > reader.size // 12:
        raise _Fault(f"says that it has {tensor_count} tensors and {value_count} values, more than it has room for")
    metadata: dict[str, Any] = {}
    for _ in range(value_count):
        key = reader.text()
        metadata[key] = reader.value(reader.number("I"))
    described = [_read_tensor(reader) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise _Fault(f"has general.alignment {alignment!r:.40}, which is not a power of two")
    start = -(-reader.position // alignment) * alignment
    tensors: dict[str, StoredTensor] = {}
    for name, shape, kind, offset in described:
        if name in tensors:
            raise _Fault(f"has the tensor {name} twice")
        tensor = StoredTensor(name, shape, kind, start + offset, kind.bytes_of(shape))
        if tensor.offset + tensor.bytes > reader.size:
            end = tensor.offset + tensor.bytes
            raise _Fault(f"is truncated: the tensor {name} ends at byte {end}, and the file at {reader.size}")
        tensors[name] = tensor
    return Header((path,), metadata, tensors, start)


def _read_tensor(reader: _Reader) -> tuple[str, tuple[int, ...], TensorType, int]:
    name = one_line(reader.text())
    if not name or len(name.encode()) >= _NAME_LIMIT_BYTES:
        raise _Fault(f"has a tensor whose name, {name[:80]!a}, is empty or too long")
    dimensions = reader.number("I")
    if not 1 <= dimensions <= 4:
        raise _Fault(f"has the tensor {name} of {dimensions} dimensions; 1 to 4 are possible")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    number, offset = reader.number("I"), reader.number("Q")
    kind = types_by_number().get(number)
    if kind is None:
        raise _Fault(f"has the tensor {name} of type {number}, which this llama.cpp does not know")
    if shape[0] % kind.block_values:
        raise _Fault(f"has the tensor {name} of type {kind.name} in rows of {shape[0]}")
    return name, shape, kind, offset
