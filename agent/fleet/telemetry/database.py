"""The outbox's database file: its schema. Checkpoints are the store's own, so that it knows how much is written."""

from __future__ import annotations

import secrets
import sqlite3
from typing import Final

from agent.sqlite import DatabaseFile


def m001_types_and_blocks(connection: sqlite3.Connection) -> None:
    """`log` names this numbering. Of a type, numbers up to `reserved` may have been used, up to `confirmed` they are
    done with. A block's key begins with its type, so that those that go together lie on the same pages."""
    for statement in (
        "CREATE TABLE log (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, writes INTEGER NOT NULL)",
        "CREATE TABLE boots (id INTEGER PRIMARY KEY, boot TEXT NOT NULL UNIQUE, offset_s REAL NOT NULL)",
        """CREATE TABLE types (
            id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL UNIQUE,
            reserved INTEGER NOT NULL, confirmed INTEGER NOT NULL, dropped INTEGER NOT NULL, expired INTEGER NOT NULL
        )""",
        """CREATE TABLE blocks (
            type INTEGER NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, age INTEGER NOT NULL,
            boot INTEGER NOT NULL, time_s REAL NOT NULL, up_s REAL NOT NULL, body BLOB NOT NULL,
            PRIMARY KEY (type, last)
        ) WITHOUT ROWID""",
        "CREATE TABLE raised (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID",
    ):
        connection.execute(statement)
    connection.execute("INSERT INTO log VALUES (1, ?, 0)", (secrets.token_hex(4),))


OUTBOX: Final = DatabaseFile(
    title="outbox",
    application_id=0x45414F42,  # "EAOB"
    migrations=(m001_types_and_blocks,),
    checkpoint_pages=0,
)
