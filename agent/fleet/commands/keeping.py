"""How long the journal keeps what, so that a command that is delivered again never runs again.

- A command that has not ended, or whose end the broker has not confirmed: always.
- The details of an end (request and result): while all of them fit in `detail_bytes`. The entry itself: for an hour,
  which the limits per hour look at, and while there are no more than `details`.
- After that its end alone, in 50 bytes, for `remember_s`, and anew whenever it comes again: longer than the broker's
  session or any sender's queue is meant to last. A request (`P/rpc`) can only come again within one session, right
  after a reconnect: `remember_requests_s`.

Nothing is dropped earlier than that: once `remembered` commands are known, or the file has `limit_bytes`, new commands
are refused instead. All times are the journal's own, in which the device has been running: no clock that is set forward
makes an old command look old enough to be forgotten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.fleet.commands import rows
from agent.fleet.commands.entry import Entry, Key

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """`remember_s` must be more than the session expiry that is asked of brokers: see `keeping_for`."""

    details: int = 1000
    detail_bytes: int = 16 * 1024 * 1024
    remembered: int = 200_000
    remember_s: float = 14 * DAY_S
    remember_requests_s: float = HOUR_S
    limit_bytes: int = 64 * 1024 * 1024

    @property
    def taken_bytes(self) -> int:
        """Of the file, so much is for new commands; the rest for how they end."""
        return self.limit_bytes * 3 // 4


def keeping_for(session_expiry_s: float) -> Keeping:
    """For a broker that may deliver a command so long after it was sent, and again."""
    return Keeping(remember_s=max(Keeping.remember_s, 2 * session_expiry_s))


def keep_on(connection: sqlite3.Connection, keeping: Keeping, keys: Sequence[Key], now_s: float) -> None:
    """Commands came again of which only the end is remembered: that begins anew. It is written once a day at most, as
    they come with each connection. In a transaction of the caller's."""
    until_s = now_s + keeping.remember_s
    connection.executemany(
        "UPDATE remembered SET until_s = ? WHERE hash = ? AND until_s < ?",
        [(until_s, rows.key_hash(key), until_s - DAY_S) for key in keys],
    )


def prune(connection: sqlite3.Connection, keeping: Keeping, now_s: float) -> list[Entry]:
    """Drops what need not be kept, in a transaction of the caller's. The entries of which only the end is left."""
    ended = "state >= 2 AND said IS state"
    size = "coalesce(length(request), 0) + coalesce(length(result), 0)"
    sizes = f"SELECT seq, {size} FROM commands JOIN bodies USING (seq) WHERE {ended}"
    kept_bytes, too_much = 0, []
    for seq, size_bytes in connection.execute(f"{sizes} ORDER BY seq DESC").fetchall():
        kept_bytes += size_bytes
        if kept_bytes > keeping.detail_bytes:
            too_much.append((seq,))
    connection.executemany("DELETE FROM bodies WHERE seq = ?", too_much)
    where = f"WHERE {ended} AND ended_s < ? AND seq <= (SELECT max(seq) FROM commands) - ?"
    old = rows.select(connection, where, (now_s - HOUR_S, keeping.details))
    for entry in old:
        keep_s = keeping.remember_requests_s if entry.key.rpc else keeping.remember_s
        rows.remember(connection, entry, now_s + keep_s)
    connection.execute("DELETE FROM remembered WHERE until_s < ?", (now_s,))
    return old
