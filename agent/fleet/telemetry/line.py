"""One type's samples in the outbox: their numbers, those in memory, and what is known of those on the disk. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from agent.fleet.telemetry.change import TypeRow
from agent.fleet.telemetry.clock import Stamp
from agent.fleet.telemetry.eviction import Candidate, victims
from agent.fleet.telemetry.sample import Kind, Sample

RESERVE: Final = 65_536
"""Numbers that are reserved at once: 45 days of a sample each minute. No number is sent before it is reserved."""


class Line:
    """`pending` is in memory only; what is on the disk is older. `reserved` is the last number that may be used; None
    where no disk remembers numbers, and none can be used twice."""

    def __init__(self, *, kind: Kind, name: str, reserved: int | None, confirmed: int = 0) -> None:
        self.kind = kind
        self.name = name
        self.confirmed = confirmed
        self.pending: deque[Sample] = deque()
        self.last_stored = 0
        self.samples_stored = 0
        self.unsaved_dropped = 0
        self._reserved = reserved
        self._next = (reserved or 0) + 1
        self._saved = TypeRow(id=0, kind=kind, name=name)

    @classmethod
    def of(cls, row: TypeRow) -> Line:
        """As the disk remembers it. Numbers that were reserved may have been used, and are not used again."""
        line = cls(kind=row.kind, name=row.name, reserved=row.reserved, confirmed=row.confirmed)
        line.stored(row)
        return line

    @property
    def newest(self) -> int:
        """The last number that can be sent; 0 where there is none."""
        for sample in reversed(self.pending):
            if self.sendable(sample.seq):
                return sample.seq
        return self.last_stored

    @property
    def dropped(self) -> int:
        return self._saved.dropped + self.unsaved_dropped

    @property
    def expired(self) -> int:
        return self._saved.expired

    @property
    def needs_reserve(self) -> bool:
        return self._reserved is not None and self._reserved - self._next + 1 < RESERVE // 2

    @property
    def to_forget(self) -> bool:
        """Whether there is something on the disk that has been confirmed."""
        return self.samples_stored > 0 and self.confirmed > self._saved.confirmed

    def add(self, stamp: Stamp, body: bytes) -> None:
        self.pending.append(Sample(self._next, stamp, body))
        self._next += 1

    def sendable(self, seq: int) -> bool:
        return self._reserved is None or seq <= self._reserved

    def reserve(self, *, more: bool) -> int:
        """What the disk shall remember as the last number in use: with `more`, some beyond it if they run out."""
        used = self._next - 1
        if not more or self._reserved is None:
            return used
        return used + RESERVE if self._reserved - used < RESERVE // 2 else self._reserved

    def since(self, after: int, limit_bytes: int) -> list[Sample]:
        """Of `pending`, those behind number `after` that can be sent in one go: at least one if there is any."""
        found: list[Sample] = []
        size_bytes = 0
        for sample in self.pending:
            if sample.seq <= after:
                continue
            size_bytes += len(sample.body) + 1
            apart = found and sample.seq != found[-1].seq + 1
            if not self.sendable(sample.seq) or apart or (found and size_bytes > limit_bytes):
                break
            found.append(sample)
        return found

    def confirm(self, through: int) -> int:
        """Samples up to `through` are done with; how many bytes that freed."""
        self.confirmed = max(self.confirmed, through)
        return self.written(self.confirmed)

    def written(self, through: int) -> int:
        """Samples up to `through` need not be in memory any more; how many bytes that freed."""
        freed_bytes = 0
        while self.pending and self.pending[0].seq <= through:
            freed_bytes += len(self.pending.popleft().body)
        return freed_bytes

    def stored(self, row: TypeRow) -> None:
        """What the disk holds now."""
        self._saved = row
        self._reserved = row.reserved
        self.samples_stored = row.samples
        self.last_stored = row.last if row.samples else 0

    def drop(self, seqs: Collection[int]) -> int:
        """Samples in memory are given up; how many bytes that freed."""
        kept = deque(sample for sample in self.pending if sample.seq not in seqs)
        freed_bytes = sum(len(sample.body) for sample in self.pending) - sum(len(sample.body) for sample in kept)
        self.unsaved_dropped += len(self.pending) - len(kept)
        self.pending = kept
        return freed_bytes


def give_up(lines: Sequence[Line], need_bytes: int) -> int:
    """Drops samples in memory, in the order of `eviction`, until `need_bytes` are free; how many there are."""
    freed_bytes = 0
    while freed_bytes < need_bytes:
        newest = {index: line.pending[-1].seq for index, line in enumerate(lines) if line.pending}
        going = victims(_candidates(lines), newest, need_bytes=need_bytes - freed_bytes)
        if not going:
            break
        for index, line in enumerate(lines):
            freed_bytes += line.drop({one.first for one in going if one.type == index})
    return freed_bytes


def _candidates(lines: Sequence[Line]) -> Iterator[Candidate]:
    for index, line in enumerate(lines):
        for sample in line.pending:
            age = int(sample.stamp.up_s * 1000)
            yield Candidate(line.kind, index, sample.seq, sample.seq, age, len(sample.body))
