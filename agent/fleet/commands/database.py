"""The journal's database file: its schema, and how large it may grow."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from agent.sqlite import PAGE_BYTES, DatabaseFile

DAMAGED_KEPT: Final = 3


def m001_commands(connection: sqlite3.Connection) -> None:
    """`bodies` are apart, so that a change of state does not write them again. `remembered` has only the ends of
    commands whose details were dropped, by a hash of what makes them the same, until the journal's own time `until_s`.
    """
    for statement in (
        """CREATE TABLE commands (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            operation TEXT NOT NULL, id TEXT NOT NULL, rpc INTEGER NOT NULL, digest BLOB NOT NULL,
            packet_id INTEGER NOT NULL, state INTEGER NOT NULL, said INTEGER, cleared INTEGER NOT NULL,
            attempts INTEGER NOT NULL, instance TEXT NOT NULL, granted_s REAL NOT NULL, ended_s REAL,
            expires_at REAL, left_s REAL, arrived_up_s REAL NOT NULL, arrived_wall_s REAL NOT NULL, boot TEXT NOT NULL,
            response_topic TEXT, correlation BLOB, reason TEXT NOT NULL, code TEXT NOT NULL,
            piece_count INTEGER NOT NULL,
            UNIQUE (operation, id, rpc)
        )""",
        "CREATE TABLE bodies (seq INTEGER PRIMARY KEY, request BLOB, result BLOB)",
        "CREATE TRIGGER without_a_command AFTER DELETE ON commands BEGIN DELETE FROM bodies WHERE seq = OLD.seq; END",
        "CREATE INDEX requests ON commands (digest) WHERE rpc = 1",
        "CREATE INDEX unfinished ON commands (seq) WHERE state < 2",
        "CREATE INDEX unsaid ON commands (seq) WHERE state > 0 AND said IS NOT state",
        """CREATE TRIGGER an_end_is_final BEFORE UPDATE OF state ON commands
            WHEN OLD.state >= 2 AND NEW.state <> OLD.state
            BEGIN SELECT RAISE(ABORT, 'a command that has ended stays so'); END""",
        "CREATE TABLE remembered (hash BLOB PRIMARY KEY, state INTEGER NOT NULL, until_s REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    ):
        connection.execute(statement)


JOURNAL: Final = DatabaseFile(
    title="command journal",
    application_id=0x4541434A,  # "EACJ"
    migrations=(m001_commands,),
    checked=True,
)


def connect(path: Path, limit_bytes: int) -> sqlite3.Connection:
    """As `DatabaseFile.connect`; the file grows to `limit_bytes` at most."""
    connection = JOURNAL.connect(path)
    try:
        with JOURNAL.translated(path):
            connection.execute(f"PRAGMA max_page_count = {max(16, limit_bytes // PAGE_BYTES)}")
    except BaseException:
        connection.close()
        raise
    return connection
