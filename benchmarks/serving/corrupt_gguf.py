"""Broken and hostile GGUF files made from a good one, each a function of its number.

The layout (ggml's docs/gguf.md): magic, version (u32), tensor count (u64), key count (u64), then keys with typed
values, then tensor descriptions, then padding and data.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import gguf

_SCALARS = {
    gguf.GGUFValueType.UINT32: ("<I", (0, 1, 3, 2**16, 2**31 - 1, 2**31, 2**32 - 1)),
    gguf.GGUFValueType.FLOAT32: ("<f", (0.0, -1.0, 1e-38, 3e38, float("nan"), float("inf"))),
    gguf.GGUFValueType.BOOL: ("<B", (0, 1, 255)),
}
_HOSTILE_COUNTS = (0, 1, 2**16, 2**31 - 1, 2**32, 2**40, 2**62, 2**63, 2**64 - 1)


class CorruptFiles:
    """Variants of `source`; `variant(i)` gives what was done and the bytes."""

    def __init__(self, source: Path) -> None:
        self._bytes = source.read_bytes()
        reader = gguf.GGUFReader(source)
        self._data_offset = int(reader.data_offset)
        # Where 64-bit lengths stand: each key's length, and that of each string and array value.
        self._lengths: list[int] = [8, 16]
        self._scalars: list[tuple[str, int, gguf.GGUFValueType]] = []
        self._text: list[tuple[int, int]] = []
        base = int(reader.data.__array_interface__["data"][0])
        for field in reader.fields.values():
            if field.name.startswith("GGUF."):
                continue
            self._lengths.append(int(field.offset))
            kind = field.types[0]
            value_at = int(field.offset) + 8 + len(field.name.encode()) + 4
            if kind == gguf.GGUFValueType.STRING:
                self._lengths.append(value_at)
            elif kind == gguf.GGUFValueType.ARRAY:
                self._lengths.append(value_at + 4)
                if field.types[1] == gguf.GGUFValueType.STRING:
                    parts = [field.parts[index] for index in field.data]
                    self._text += [(int(p.__array_interface__["data"][0]) - base, len(p)) for p in parts]
            elif kind in _SCALARS:
                self._scalars.append((field.name, value_at, kind))
        self._tensor_offsets = [int(tensor.field.offset) for tensor in reader.tensors]

    def variant(self, number: int) -> tuple[str, bytes]:
        rng = random.Random(number)
        makers = (
            self._truncated,
            self._flipped,
            self._hostile_length,
            self._hostile_tensor,
            self._overwritten,
            self._hostile_value,
            self._garbled_text,
        )
        return makers[number % len(makers)](rng)

    def _truncated(self, rng: random.Random) -> tuple[str, bytes]:
        end = len(self._bytes) if rng.random() < 0.4 else self._data_offset
        size = rng.choice([0, 3, 4, 12, 23, rng.randrange(24, end), rng.randrange(24, end)])
        return f"cut at {size}", self._bytes[:size]

    def _flipped(self, rng: random.Random) -> tuple[str, bytes]:
        broken = bytearray(self._bytes)
        places = [rng.randrange(self._data_offset) for _ in range(rng.randint(1, 8))]
        if rng.random() < 0.3:
            places.append(rng.randrange(24))
        for place in places:
            broken[place] ^= 1 << rng.randrange(8)
        return f"bits flipped at {places}", bytes(broken)

    def _hostile_length(self, rng: random.Random) -> tuple[str, bytes]:
        place, count = rng.choice(self._lengths), rng.choice(_HOSTILE_COUNTS)
        broken = bytearray(self._bytes)
        struct.pack_into("<Q", broken, place, count)
        return f"length {count} at {place}", bytes(broken)

    def _hostile_tensor(self, rng: random.Random) -> tuple[str, bytes]:
        start = rng.choice(self._tensor_offsets)
        (name_size,) = struct.unpack_from("<Q", self._bytes, start)
        after_name = start + 8 + name_size
        (dimensions,) = struct.unpack_from("<I", self._bytes, after_name)
        broken = bytearray(self._bytes)
        part = rng.choice(["dimensions", "size", "type", "offset"])
        if part == "dimensions":
            struct.pack_into("<I", broken, after_name, rng.choice([0, 5, 2**31, 2**32 - 1]))
        elif part == "size":
            place = after_name + 4 + 8 * rng.randrange(dimensions)
            struct.pack_into("<Q", broken, place, rng.choice(_HOSTILE_COUNTS))
        elif part == "type":
            struct.pack_into("<I", broken, after_name + 4 + 8 * dimensions, rng.choice([4, 99, 2**31, 2**32 - 1]))
        else:
            place = after_name + 8 + 8 * dimensions
            struct.pack_into("<Q", broken, place, rng.choice([1, 2**32, 2**62, 2**64 - 32]))
        return f"tensor {part} at {start}", bytes(broken)

    def _hostile_value(self, rng: random.Random) -> tuple[str, bytes]:
        name, place, kind = rng.choice(self._scalars)
        form, values = _SCALARS[kind]
        value = rng.choice(values)
        broken = bytearray(self._bytes)
        struct.pack_into(form, broken, place, value)
        return f"{name} = {value}", bytes(broken)

    def _garbled_text(self, rng: random.Random) -> tuple[str, bytes]:
        """Tokens and merges spelled with random bytes: well formed, and nonsense."""
        broken = bytearray(self._bytes)
        chosen = rng.sample(self._text, k=rng.choice([1, 20, 500]))
        for place, size in chosen:
            broken[place : place + size] = rng.randbytes(size)
        return f"{len(chosen)} strings garbled", bytes(broken)

    def _overwritten(self, rng: random.Random) -> tuple[str, bytes]:
        broken = bytearray(self._bytes)
        size = rng.randrange(4, 256)
        place = rng.randrange(0, self._data_offset - size)
        broken[place : place + size] = rng.randbytes(size)
        return f"{size} random bytes at {place}", bytes(broken)
