"""The outbox on the disk. Every change is one transaction; calls come from one thread at a time."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.errors import EdgeAgentError
from agent.fleet.telemetry.block import BLOCK_BYTES, Block, DamagedBlockError, pack
from agent.fleet.telemetry.change import Change, TypeChange, TypeRow
from agent.fleet.telemetry.clock import Stamp
from agent.fleet.telemetry.database import OUTBOX
from agent.fleet.telemetry.eviction import Candidate, victims
from agent.fleet.telemetry.run import Run
from agent.fleet.telemetry.sample import Kind
from agent.fleet.telemetry.wear import Written
from agent.sqlite import PAGE_BYTES, DamagedError, transaction, used_bytes

CHECKPOINT_BYTES: Final = 256 * 1024
"""The log is copied into the database when it is so long."""
LOG_ROOM_BYTES: Final = 1024 * 1024
"""Of the cap, for the log: it grows past the above in a transaction that drops much."""
_FULL_SHARE: Final = 0.94
"""Down to so much of the room is dropped at once, so that it is not done at each write."""
_FULL_ENOUGH: Final = 0.75
"""A message that is so full need not end in the middle of a block."""
_FRAME_BYTES: Final = PAGE_BYTES + 24
_LOG_HEADER_BYTES: Final = 32


class Store:
    """Raises, from every method, `DamagedError` for a file that can only be set aside, else `StoreError`,
    `DiskFullError` or `UnavailableError`, and has changed nothing then."""

    def __init__(self, path: Path, *, cap_bytes: int, boot: str, offset_s: float) -> None:
        self.path = path
        self._room_bytes = max(PAGE_BYTES * 32, cap_bytes * 7 // 8 - LOG_ROOM_BYTES)
        self._connection = OUTBOX.connect(path)
        self._written = Written()
        self._log_bytes = self._log_size()
        try:
            with OUTBOX.translated(path):
                self.log, self._writes = self._connection.execute("SELECT name, writes FROM log").fetchone()
                self._boots: dict[int, tuple[str, float]] = {
                    number: (name, offset)
                    for number, name, offset in self._connection.execute("SELECT id, boot, offset_s FROM boots")
                }
                self._boot = boot
                self._offset_s = offset_s
                self._boot_id = next((number for number, (name, _) in self._boots.items() if name == boot), None)
                self.rows = {row.name: row for row in self._load()}
                self.raised: dict[str, bytes] = dict(self._connection.execute("SELECT name, body FROM raised"))
        except (TypeError, ValueError) as error:
            self._connection.close()
            raise DamagedError(f"The outbox {path} holds what nobody wrote ({error}).") from error
        except BaseException:
            self._connection.close()
            raise

    def apply(self, change: Change) -> dict[str, TypeRow]:
        """What is there afterwards of every type."""
        with OUTBOX.translated(self.path):
            if self._log_bytes >= CHECKPOINT_BYTES:
                self._checkpoint()
            # Taken back as a whole if the transaction fails.
            rows, boots, writes = dict(self.rows), dict(self._boots), self._writes
            boot_id = self._boot_id
            try:
                with transaction(self._connection, durable=False):
                    self._note_boot(change.offset_s)
                    for one in change.types:
                        self._change(one)
                    if change.older_than is not None:
                        self._expire(change.older_than)
                    if any(one.samples for one in change.types):
                        self._writes += 1
                        self._connection.execute("UPDATE log SET writes = ?", (self._writes,))
                        self._make_room()
                    if change.raised is not None:
                        self._connection.execute("DELETE FROM raised")
                        self._connection.executemany("INSERT INTO raised VALUES (?, ?)", change.raised.items())
                        self.raised = dict(change.raised)
                    self._save(rows)
            except BaseException:
                self.rows, self._boots, self._writes, self._boot_id = rows, boots, writes, boot_id
                raise
            self._count_commit()
        return self.rows

    def read(self, name: str, after: int, limit_bytes: int) -> Run | None:
        """The samples after number `after`, as many as fit into `limit_bytes` with a byte between them, at least one.
        None where there are none. What cannot be read is dropped."""
        row = self.rows[name]
        run: Run | None = None
        size_bytes = 0
        damaged: list[tuple[int, int]] = []
        with OUTBOX.translated(self.path):
            cursor = self._connection.execute(
                "SELECT first, last, boot, time_s, up_s, body FROM blocks WHERE type = ? AND last > ? ORDER BY last",
                (row.id, after),
            )
            for first, last, boot, time_s, up_s, body in cursor:
                if run is not None and max(limit_bytes - BLOCK_BYTES, limit_bytes * _FULL_ENOUGH) < size_bytes:
                    break  # else most of the next block would be inflated once more for the next message
                block = Block(first=first, last=last, boot=boot, stamp=Stamp(time_s, up_s), body=body)
                try:
                    lines = block.lines()
                except DamagedBlockError:
                    damaged.append((first, last))
                    continue
                skipped = max(0, after + 1 - first)
                if run is None:
                    boot_name, offset_s = self._boots.get(boot, ("", 0.0))
                    run, run_boot = Run(first + skipped, boot_name, offset_s), boot
                elif boot != run_boot or first != run.last + 1:
                    break
                plain_bytes = sum(map(len, lines)) + len(lines)
                if not skipped and size_bytes + plain_bytes <= limit_bytes:
                    run.lines += lines
                    size_bytes += plain_bytes
                    continue
                for line in lines[skipped:]:
                    if run.lines and size_bytes + len(line) + 1 > limit_bytes:
                        break
                    run.lines.append(line)
                    size_bytes += len(line) + 1
                if run.last < last:
                    break
            cursor.close()
            if damaged:
                self._drop_damaged(row, damaged)
        return run

    def take_written(self) -> Written:
        """Since the last call."""
        written, self._written = self._written, Written()
        return written

    @property
    def used_bytes(self) -> int:
        return used_bytes(self._connection)

    def close(self) -> None:
        """The log goes into the database. Raises nothing."""
        with contextlib.suppress(EdgeAgentError):  # the log is taken up by whoever opens the file next
            with OUTBOX.translated(self.path):
                self._checkpoint()
        self._connection.close()

    def abandon(self) -> None:
        """As if the process had been killed."""
        self._connection.close()

    def _load(self) -> list[TypeRow]:
        stored = {
            type: (last, samples, size)
            for type, last, samples, size in self._connection.execute(
                "SELECT type, max(last), sum(last - first + 1), sum(length(body)) FROM blocks GROUP BY type"
            )
        }
        return [
            TypeRow(
                id=id,
                kind=Kind(kind),
                name=name,
                reserved=reserved,
                confirmed=confirmed,
                dropped=dropped,
                expired=expired,
                last=stored.get(id, (0, 0, 0))[0],
                samples=stored.get(id, (0, 0, 0))[1],
                stored_bytes=stored.get(id, (0, 0, 0))[2],
            )
            for id, kind, name, reserved, confirmed, dropped, expired in self._connection.execute(
                "SELECT id, kind, name, reserved, confirmed, dropped, expired FROM types"
            )
        ]

    def _note_boot(self, offset_s: float) -> None:
        if self._boot_id is None:
            # Boots without samples are of no use to anybody.
            self._connection.execute("DELETE FROM boots WHERE id NOT IN (SELECT boot FROM blocks)")
            sql = "INSERT INTO boots (boot, offset_s) VALUES (?, ?)"
            self._boot_id = self._connection.execute(sql, (self._boot, offset_s)).lastrowid or 0
        elif abs(self._boots[self._boot_id][1] - offset_s) > 1.0:
            self._connection.execute("UPDATE boots SET offset_s = ? WHERE id = ?", (offset_s, self._boot_id))
        else:
            return
        self._boots[self._boot_id] = (self._boot, offset_s)

    def _change(self, one: TypeChange) -> None:
        row = self.rows.get(one.name)
        if row is None:
            cursor = self._connection.execute(
                "INSERT INTO types (kind, name, reserved, confirmed, dropped, expired) VALUES (?, ?, 0, 0, 0, 0)",
                (int(one.kind), one.name),
            )
            row = TypeRow(id=cursor.lastrowid or 0, kind=one.kind, name=one.name)
        if row.samples and one.confirmed > row.confirmed:
            row = self._delete(row, "last <= ?", (one.confirmed,))[0]
        assert self._boot_id is not None
        blocks = list(pack([sample for sample in one.samples if sample.seq > row.last], self._boot_id))
        self._connection.executemany(
            "INSERT INTO blocks (type, last, first, age, boot, time_s, up_s, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (row.id, block.last, block.first, self._writes + 1, block.boot, *block.stamp, block.body)
                for block in blocks
            ],
        )
        self.rows[one.name] = replace(
            row,
            kind=one.kind,
            reserved=one.reserved,
            confirmed=max(row.confirmed, one.confirmed),
            dropped=row.dropped + one.dropped,
            last=blocks[-1].last if blocks else row.last,
            samples=row.samples + sum(block.count for block in blocks),
            stored_bytes=row.stored_bytes + sum(len(block.body) for block in blocks),
        )

    def _expire(self, older_than: Stamp) -> None:
        for name, row in list(self.rows.items()):
            if row.kind is Kind.MEASUREMENT and row.samples:
                where = "last < ? AND (boot = ? AND up_s < ? OR boot <> ? AND time_s < ?)"
                values = (row.last, self._boot_id, older_than.up_s, self._boot_id, older_than.time_s)
                left, count = self._delete(row, where, values)
                self.rows[name] = replace(left, expired=left.expired + count)

    def _make_room(self) -> None:
        if self.used_bytes <= self._room_bytes:
            return
        target_bytes = int(self._room_bytes * _FULL_SHARE)
        by_id = {row.id: row for row in self.rows.values()}
        while (need_bytes := self.used_bytes - target_bytes) > 0:
            cursor = self._connection.execute(
                "SELECT types.kind, blocks.type, first, last, age, length(body)"
                " FROM blocks JOIN types ON types.id = blocks.type"
            )
            going = victims(
                (Candidate(Kind(kind), *rest) for kind, *rest in cursor),
                {row.id: row.last for row in by_id.values()},
                need_bytes=need_bytes,
            )
            if not going:
                return
            lost: defaultdict[int, list[Candidate]] = defaultdict(list)
            for one in going:
                self._connection.execute("DELETE FROM blocks WHERE type = ? AND last = ?", (one.type, one.last))
                lost[one.type].append(one)
            for id, candidates in lost.items():
                count = sum(one.last - one.first + 1 for one in candidates)
                by_id[id] = self._without(by_id[id], count, sum(one.size_bytes for one in candidates), dropped=count)
        self.rows = {row.name: row for row in by_id.values()}

    def _delete(self, row: TypeRow, where: str, values: tuple[float | None, ...]) -> tuple[TypeRow, int]:
        """`row` without the blocks that `where` names, and how many samples they were."""
        sql = f"FROM blocks WHERE type = ? AND {where}"
        count, size = self._connection.execute(
            f"SELECT coalesce(sum(last - first + 1), 0), coalesce(sum(length(body)), 0) {sql}", (row.id, *values)
        ).fetchone()
        if count:
            self._connection.execute(f"DELETE {sql}", (row.id, *values))
        return self._without(row, count, size), count

    @staticmethod
    def _without(row: TypeRow, samples: int, size_bytes: int, *, dropped: int = 0) -> TypeRow:
        return replace(
            row,
            samples=row.samples - samples,
            stored_bytes=row.stored_bytes - size_bytes,
            dropped=row.dropped + dropped,
        )

    def _drop_damaged(self, row: TypeRow, damaged: Sequence[tuple[int, int]]) -> None:
        before = dict(self.rows)
        with transaction(self._connection, durable=False):
            for _, last in damaged:
                row, count = self._delete(row, "last = ?", (last,))
                row = replace(row, dropped=row.dropped + count)
            self.rows[row.name] = row
            self._save(before)
        self._count_commit()

    def _save(self, before: Mapping[str, TypeRow]) -> None:
        for name, row in self.rows.items():
            if row != before.get(name):
                self._connection.execute(
                    "UPDATE types SET kind = ?, reserved = ?, confirmed = ?, dropped = ?, expired = ? WHERE id = ?",
                    (int(row.kind), row.reserved, row.confirmed, row.dropped, row.expired, row.id),
                )

    def _count_commit(self) -> None:
        """The log only grows between two checkpoints, which are ours alone."""
        size = self._log_size()
        self._written = self._written.plus(Written(1, max(0, size - self._log_bytes), 0))
        self._log_bytes = size

    def _log_size(self) -> int:
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:
            return 0

    def _checkpoint(self) -> None:
        """Each page of the log is written once more, at most."""
        pages = min((self._log_bytes - _LOG_HEADER_BYTES) // _FRAME_BYTES, self._pragma("page_count"))
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._written = self._written.plus(Written(0, max(0, pages) * PAGE_BYTES, 2))
        self._log_bytes = 0

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
