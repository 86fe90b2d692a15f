"""Importance matrices: for each weight matrix, how strongly each of its inputs is used.

An entry holds the sum of squared activations per column and how many rows went into it; a quantizer then weighs the
error of a column by the mean. Read from llama.cpp's GGUF format and its older `.dat`; written as GGUF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.errors import ArtifactError
from agent.store.probe_report import one_line
from convert.quantization.ggml import F32
from convert.quantization.header import DEFAULT_ALIGNMENT, MAGIC, read_header

Floats = NDArray[np.float32]

_SUMS, _COUNTS = ".in_sum2", ".counts"
_ENTRY_LIMIT: Final = 1 << 20
_U32, _STRING, _ARRAY = 4, 8, 9
_HINT: Final = "Give an imatrix of llama.cpp (GGUF or .dat), or a .txt to collect one from."


@dataclass(frozen=True)
class Entry:
    """`sums` float32 [matrices, columns]: squared activations added up; `counts` float32 [matrices]: of how many rows.

    Matrices are the experts of a layer, one for a plain matrix.
    """

    sums: Floats
    counts: Floats

    def weights(self) -> Floats:
        """The mean square per column, float32 [matrices * columns]; 1 for an expert that was never chosen."""
        counts = self.counts[:, None]
        means = np.divide(self.sums, counts, out=np.ones_like(self.sums), where=counts > 0)
        return means.reshape(-1)


@dataclass(frozen=True)
class Imatrix:
    """Entries by the name of the weight tensor. `chunk_tokens` is the context they were collected at, 0 if unknown."""

    entries: dict[str, Entry]
    datasets: tuple[str, ...] = ()
    chunks: int = 0
    chunk_tokens: int = 0

    def write(self, path: Path) -> None:
        """Write llama.cpp's GGUF format: the same entries give the same bytes. Raises `OSError`."""
        datasets = b"".join(map(_utf8, self.datasets))
        values = [
            (b"general.type", struct.pack("<I", _STRING) + _text(b"imatrix")),
            (b"imatrix.datasets", struct.pack("<IIQ", _ARRAY, _STRING, len(self.datasets)) + datasets),
            (b"imatrix.chunk_count", struct.pack("<II", _U32, self.chunks)),
            (b"imatrix.chunk_size", struct.pack("<II", _U32, self.chunk_tokens)),
        ]
        tensors: list[tuple[bytes, Floats]] = []
        for name in sorted(self.entries):
            entry = self.entries[name]
            tensors.append((f"{name}{_SUMS}".encode(), entry.sums))
            tensors.append((f"{name}{_COUNTS}".encode(), entry.counts[:, None]))
        head = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(values))]
        head += [_text(key) + value for key, value in values]
        offset = 0
        for label, data in tensors:
            matrices, columns = data.shape
            head.append(_text(label) + struct.pack("<IQQIQ", 2, columns, matrices, F32, offset))
            offset += _padded(data.nbytes)
        with path.open("wb") as file:
            start = b"".join(head)
            file.write(start.ljust(_padded(len(start)), b"\0"))
            for _, data in tensors:
                file.write(np.ascontiguousarray(data, "<f4").tobytes().ljust(_padded(data.nbytes), b"\0"))


def read_imatrix(path: Path) -> Imatrix:
    """An imatrix file, GGUF or `.dat`. Raises `ArtifactError` for anything else, and for numbers that cannot be."""
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file." if path.exists() else f"{path} does not exist.")
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == MAGIC
        matrix = _read_gguf(path) if is_gguf else _read_legacy(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None
    if not matrix.entries:
        raise ArtifactError(f"{path} has no entries.", hint=_HINT)
    for name, entry in matrix.entries.items():
        if not np.isfinite(entry.sums).all() or not np.isfinite(entry.counts).all():
            raise ArtifactError(f"{path}: the entry {name} has values that are not finite.", hint=_HINT)
        if (entry.sums < 0).any() or (entry.counts < 0).any():
            raise ArtifactError(f"{path}: the entry {name} has negative values, and sums of squares have none.")
    return matrix


def _read_gguf(path: Path) -> Imatrix:
    header = read_header(path)
    if header.metadata.get("general.type") != "imatrix":
        raise ArtifactError(f"{path} is GGUF, but not an imatrix.", hint=_HINT)
    arrays: dict[str, Floats] = {}
    with path.open("rb") as file:
        for name, tensor in header.tensors.items():
            if tensor.type.number != F32:
                raise ArtifactError(f"{path}: {name} is of type {tensor.type.name}; an imatrix is F32.", hint=_HINT)
            file.seek(tensor.offset)
            arrays[name] = np.frombuffer(file.read(tensor.bytes), "<f4").reshape(-1, tensor.shape[0])
    names = {name.removesuffix(end) for name in arrays for end in (_SUMS, _COUNTS) if name.endswith(end)}
    entries: dict[str, Entry] = {}
    for name in sorted(names):
        sums, counts = arrays.get(name + _SUMS), arrays.get(name + _COUNTS)
        if sums is None or counts is None:
            raise ArtifactError(f"{path}: {name} has sums without counts, or counts without sums.", hint=_HINT)
        flat = np.round(counts.reshape(-1))
        if flat.size == 0 or sums.size % flat.size:
            raise ArtifactError(f"{path}: {name} has {sums.size} sums and {flat.size} counts.", hint=_HINT)
        entries[name] = Entry(sums.reshape(flat.size, -1), flat)
    datasets = header.metadata.get("imatrix.datasets", [])
    return Imatrix(
        entries,
        tuple(one_line(str(each)) for each in datasets) if isinstance(datasets, list) else (),
        _whole(header.metadata.get("imatrix.chunk_count")),
        _whole(header.metadata.get("imatrix.chunk_size")),
    )


def _read_legacy(path: Path) -> Imatrix:
    """Entries of (name, calls, values): each value is the mean square times the calls. Then chunks and the dataset."""
    data = memoryview(path.read_bytes())
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        if count < 0 or place + count > len(data):
            raise ArtifactError(f"{path} is not an imatrix, or it is truncated.", hint=_HINT)
        place += count
        return bytes(data[place - count : place])

    def integer() -> int:
        return int(struct.unpack("<i", take(4))[0])

    entries: dict[str, Entry] = {}
    count = integer()
    if not 0 < count <= _ENTRY_LIMIT:
        raise ArtifactError(f"{path} is not an imatrix.", hint=_HINT)
    for _ in range(count):
        name = one_line(take(integer()).decode("utf-8", "replace"))
        calls, values = integer(), integer()
        sums = np.frombuffer(take(4 * max(values, -1)), "<f4")
        if not name or sums.size == 0:
            raise ArtifactError(f"{path} is not an imatrix.", hint=_HINT)
        entries[name] = Entry(sums.reshape(1, -1), np.array([max(calls, 1)], np.float32))
    chunks = 0
    datasets: tuple[str, ...] = ()
    if place < len(data):
        chunks = max(0, integer())
        if place < len(data):
            datasets = (one_line(take(integer()).decode("utf-8", "replace")),)
    return Imatrix(entries, datasets, chunks)


@dataclass(frozen=True)
class Match:
    """How an imatrix suits a set of tensors. `missing` have no entry; they are quantized without."""

    used: int
    missing: tuple[str, ...]


def match(matrix: Imatrix, wanted: Iterable[tuple[str, tuple[int, ...]]], *, where: str) -> Match:
    """Hold an imatrix against tensors to be quantized, as (name, shape).

    Raises `ArtifactError` where an entry is of another size, or no tensor has one: it is another model's.
    """
    used, missing = 0, []
    for name, shape in wanted:
        entry = matrix.entries.get(name)
        if entry is None:
            missing.append(name)
            continue
        columns, matrices = shape[0], shape[2] if len(shape) > 2 else 1
        if entry.sums.size != columns * matrices:
            raise ArtifactError(
                f"{where} is of another model: its entry {name} has {entry.sums.size} values, and the tensor has "
                f"{columns * matrices} columns.",
                hint="Collect one from this very model: --imatrix TEXT.txt.",
            )
        used += 1
    if missing and not used:
        raise ArtifactError(
            f"{where} is of another model: it has no entry for any of {len(missing)} tensors, such as {missing[0]}; it "
            f"has {next(iter(matrix.entries))}.",
            hint="Collect one from this very model: --imatrix TEXT.txt.",
        )
    return Match(used, tuple(missing))


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 32 else 0


def _padded(count: int) -> int:
    return -(-count // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _text(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _utf8(text: str) -> bytes:
    return _text(text.encode())
