"""The updates' database file: its schema.

A move of an update is committed durably: it outlives a power cut. Progress and counts, which would come about again,
are not, which wears a card less.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from agent.sqlite import DatabaseFile


def m001_updates(connection: sqlite3.Connection) -> None:
    """`moves` tells how an update came to its state. `spent` is what came over the network on a local date."""
    for statement in (
        """CREATE TABLE updates (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL, target TEXT, origin TEXT NOT NULL, rev TEXT NOT NULL, terms BLOB NOT NULL,
            state TEXT NOT NULL, final INTEGER NOT NULL, reason TEXT NOT NULL,
            version TEXT, digest TEXT, adopted INTEGER NOT NULL, previous TEXT,
            attempts INTEGER NOT NULL, retry_at REAL, interruptions INTEGER NOT NULL,
            bytes_done INTEGER NOT NULL, bytes_total INTEGER NOT NULL, bytes_missing INTEGER NOT NULL,
            bytes_fetched INTEGER NOT NULL, bytes_best INTEGER NOT NULL,
            figures BLOB NOT NULL, served_s REAL NOT NULL,
            requests_ok INTEGER NOT NULL, requests_failed INTEGER NOT NULL, crashes INTEGER NOT NULL,
            created_at REAL NOT NULL, changed_at REAL NOT NULL
        )""",
        "CREATE INDEX unfinished ON updates (id) WHERE final = 0",
        "CREATE INDEX by_name ON updates (name, id)",
        """CREATE TRIGGER an_end_is_final BEFORE UPDATE OF state ON updates WHEN OLD.final AND NEW.state <> OLD.state
            BEGIN SELECT RAISE(ABORT, 'an update that has ended stays so'); END""",
        """CREATE TABLE moves (
            id INTEGER NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
            move TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (id, number)
        ) WITHOUT ROWID""",
        "CREATE TRIGGER without_an_update AFTER DELETE ON updates BEGIN DELETE FROM moves WHERE id = OLD.id; END",
        """CREATE TABLE rejected (
            digest TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL
        ) WITHOUT ROWID""",
        "CREATE TABLE spent (day TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    ):
        connection.execute(statement)


JOURNAL: Final = DatabaseFile(
    title="update journal",
    application_id=0x45415550,  # "EAUP"
    migrations=(m001_updates,),
    checked=True,
    checkpoint_pages=64,
    log_limit_bytes=256 * 1024,
)
