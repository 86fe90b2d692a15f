"""Samples that lie in the database together: one row, its JSON lines deflated where that makes them shorter."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.fleet.telemetry.clock import Stamp
from agent.fleet.telemetry.sample import Sample

BLOCK_BYTES: Final = 16 * 1024
"""Longest block before it is deflated, but for one sample that is longer. What is dropped is dropped in blocks."""
_LEVEL: Final = 6
_LONGEST_BYTES: Final = 1024 * 1024


class DamagedBlockError(ValueError):
    """The bytes are not those that were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Samples `first` to `last` of one type, all of one boot. `stamp` is the last one's."""

    first: int
    last: int
    boot: int
    stamp: Stamp
    body: bytes

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def lines(self) -> list[bytes]:
        """The samples' JSON. Raises `DamagedBlockError`."""
        body = self.body
        if not body.startswith(b"{"):
            inflate = zlib.decompressobj()
            try:
                body = inflate.decompress(body, _LONGEST_BYTES)
            except zlib.error as error:
                raise DamagedBlockError(str(error)) from None
            if not inflate.eof:
                raise DamagedBlockError("cut short")
        lines = body.split(b"\n")
        whole = body.startswith(b"{") and body.endswith(b"}") and body.count(b"}\n{") == len(lines) - 1
        if len(lines) != self.count or not whole:
            raise DamagedBlockError(f"{len(lines)} lines for {self.count} samples")
        return lines


def pack(samples: Sequence[Sample], boot: int) -> Iterator[Block]:
    """Blocks of samples whose numbers follow each other."""
    start = 0
    size_bytes = 0
    for index, sample in enumerate(samples):
        apart = index > start and sample.seq != samples[index - 1].seq + 1
        if index > start and (apart or size_bytes + len(sample.body) > BLOCK_BYTES):
            yield _block(samples[start:index], boot)
            start, size_bytes = index, 0
        size_bytes += len(sample.body) + 1
    if start < len(samples):
        yield _block(samples[start:], boot)


def _block(samples: Sequence[Sample], boot: int) -> Block:
    plain = b"\n".join(sample.body for sample in samples)
    deflated = zlib.compress(plain, _LEVEL)
    return Block(
        first=samples[0].seq,
        last=samples[-1].seq,
        boot=boot,
        stamp=samples[-1].stamp,
        body=deflated if len(deflated) < len(plain) else plain,
    )
