"""The table of codes follows the table of vectors."""

from __future__ import annotations

import sqlite3
from itertools import groupby

from agent.search.codes import BLOCK_ROWS, Block, encode
from agent.search.vectors import stored_floats


def settle(connection: sqlite3.Connection, dim: int) -> None:
    """Bring the codes of all stale rows up to date. Call it before a transaction that wrote vectors ends."""
    stale = [row for (row,) in connection.execute("SELECT id FROM stale ORDER BY id")]
    for number, rows in groupby(stale, key=lambda row: row // BLOCK_ROWS):
        stored = connection.execute("SELECT codes, scales, margins FROM codes WHERE block = ?", (number,)).fetchone()
        block = Block(dim, stored)
        for row in rows:
            found = connection.execute("SELECT vector FROM vectors WHERE id = ?", (row,)).fetchone()
            if found is None:
                block.clear(row % BLOCK_ROWS)
            else:
                block.put(row % BLOCK_ROWS, encode(stored_floats(found[0], dim)))
        if not block.empty:
            connection.execute("REPLACE INTO codes VALUES (?, ?, ?, ?)", (number, *block.stored()))
        elif stored is not None:
            connection.execute("DELETE FROM codes WHERE block = ?", (number,))
    if stale:
        connection.execute("DELETE FROM stale")


def rebuild(connection: sqlite3.Connection, dim: int) -> None:
    """All codes again, from the vectors. Call it in a transaction."""
    connection.execute("DELETE FROM codes")
    connection.execute("DELETE FROM stale")
    numbers = [row for (row,) in connection.execute(f"SELECT DISTINCT id / {BLOCK_ROWS} FROM vectors ORDER BY 1")]
    for number in numbers:
        block = Block(dim)
        span = (number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)
        for row, vector in connection.execute("SELECT id, vector FROM vectors WHERE id >= ? AND id < ?", span):
            block.put(row % BLOCK_ROWS, encode(stored_floats(vector, dim)))
        connection.execute("INSERT INTO codes VALUES (?, ?, ?, ?)", (number, *block.stored()))
