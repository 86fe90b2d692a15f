"""Commands as rows of the journal's tables."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from agent.fleet.commands.entry import Entry, Key
from agent.fleet.commands.expiry import Deadline
from agent.fleet.commands.states import State

_COLUMNS: Final = (
    "seq, operation, id, rpc, digest, packet_id, state, said, cleared, attempts, instance, granted_s, expires_at,"
    " left_s, arrived_up_s, arrived_wall_s, boot, response_topic, correlation, reason, code, piece_count"
)


def select(connection: sqlite3.Connection, where: str, values: Sequence[Any] = ()) -> list[Entry]:
    query = f"SELECT request, result, {_COLUMNS} FROM commands LEFT JOIN bodies USING (seq) {where}"
    return [_entry(row) for row in connection.execute(query, values)]


def insert(connection: sqlite3.Connection, entry: Entry, now_s: float) -> int:
    """Its number: its own, where it has one."""
    deadline = entry.deadline
    values = (
        entry.seq or None,
        *entry.key,
        entry.digest,
        entry.packet_id,
        entry.state,
        entry.said,
        entry.cleared,
        entry.attempts,
        entry.instance,
        entry.granted_s,
        deadline.expires_at,
        deadline.left_s,
        deadline.arrived_up_s,
        deadline.arrived_wall_s,
        deadline.boot,
        entry.response_topic,
        entry.correlation,
        entry.reason,
        entry.code,
        entry.piece_count,
        now_s if entry.state.final else None,
    )
    marks = ", ".join("?" * len(values))
    row = connection.execute(f"INSERT INTO commands ({_COLUMNS}, ended_s) VALUES ({marks})", values)
    seq = int(row.lastrowid or 0)
    if entry.request is not None or entry.result is not None:
        connection.execute("INSERT INTO bodies VALUES (?, ?, ?)", (seq, entry.request, entry.result))
    return seq


def update(connection: sqlite3.Connection, entry: Entry, now_s: float) -> None:
    """What changes in a command's life."""
    connection.execute(
        "UPDATE commands SET state = ?, attempts = ?, instance = ?, reason = ?, code = ?, ended_s = ?,"
        " cleared = ? WHERE seq = ?",
        (
            entry.state,
            entry.attempts,
            entry.instance,
            entry.reason,
            entry.code,
            now_s if entry.state.final else None,
            entry.cleared,
            entry.seq,
        ),
    )
    if entry.state.final:
        connection.execute("REPLACE INTO bodies VALUES (?, ?, ?)", (entry.seq, entry.request, entry.result))


def _entry(row: Sequence[Any]) -> Entry:
    (
        request,
        result,
        seq,
        operation,
        id,
        rpc,
        digest,
        packet_id,
        state,
        said,
        cleared,
        attempts,
        instance,
        granted_s,
        *rest,
    ) = row
    (expires_at, left_s, arrived_up_s, arrived_wall_s, boot, *rest) = rest
    (response_topic, correlation, reason, code, piece_count) = rest
    return Entry(
        key=Key(operation, id, bool(rpc)),
        digest=digest,
        state=State(state),
        deadline=Deadline(
            expires_at=expires_at, left_s=left_s, arrived_up_s=arrived_up_s, arrived_wall_s=arrived_wall_s, boot=boot
        ),
        seq=seq,
        packet_id=packet_id,
        request=request,
        response_topic=response_topic,
        correlation=correlation,
        granted_s=granted_s,
        said=None if said is None else State(said),
        cleared=bool(cleared),
        attempts=attempts,
        instance=instance,
        result=result,
        reason=reason,
        code=code,
        piece_count=piece_count,
    )


def count(connection: sqlite3.Connection) -> int:
    """Of commands that are known, with those of which only the end is."""
    query = "SELECT (SELECT count(*) FROM commands) + (SELECT count(*) FROM remembered)"
    return int(connection.execute(query).fetchone()[0])


def remember(connection: sqlite3.Connection, entry: Entry, until_s: float) -> None:
    """Keeps its end, and drops the rest."""
    hashed = request_hash(entry.key.operation, entry.digest, entry.packet_id) if entry.key.rpc else key_hash(entry.key)
    connection.execute("REPLACE INTO remembered VALUES (?, ?, ?)", (hashed, entry.state, until_s))
    connection.execute("DELETE FROM commands WHERE seq = ?", (entry.seq,))


def remembered(connection: sqlite3.Connection, hashed: bytes) -> tuple[int] | None:
    row: tuple[int] | None = connection.execute("SELECT state FROM remembered WHERE hash = ?", (hashed,)).fetchone()
    return row


def key_hash(key: Key) -> bytes:
    return hashlib.blake2b(f"{key.operation}/{key.id}".encode(), digest_size=16).digest()


def request_hash(operation: str, digest: bytes, packet_id: int) -> bytes:
    return hashlib.blake2b(f"{operation}//{packet_id}".encode() + digest, digest_size=16).digest()
