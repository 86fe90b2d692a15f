"""The schema of a collection, as an ordered list of changes, and the table of those that were applied.

The triggers keep what must agree in agreement, whoever writes:

- every passage has a vector or stands in `pending`; a changed text loses its vector;
- a vector has the collection's generation and dimensions, and the model cannot change while there are vectors: vectors
  of two models cannot be in one database;
- `stale` names the rows whose codes are not what their vectors say (`blocks.settle` empties it);
- `holes` are the numbers that removed passages left, to be used again;
- the index of words follows the texts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.errors import StoreError
from agent.sqlite import transaction

Migration = Callable[[sqlite3.Connection], None]

_FIRST: Final = """
CREATE TABLE collection (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    model TEXT NOT NULL,
    model_version TEXT NOT NULL,
    dim INTEGER NOT NULL CHECK (dim > 0),
    generation INTEGER NOT NULL,
    text_columns TEXT NOT NULL
);
CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY CHECK (id > 0),
    key TEXT NOT NULL UNIQUE,
    source INTEGER NOT NULL,
    text TEXT NOT NULL,
    metadata TEXT NOT NULL
);
CREATE TABLE vectors (id INTEGER PRIMARY KEY, generation INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE TABLE codes (
    block INTEGER PRIMARY KEY,
    codes BLOB NOT NULL,
    scales BLOB NOT NULL,
    margins BLOB NOT NULL
);
CREATE TABLE pending (id INTEGER PRIMARY KEY);
CREATE TABLE stale (id INTEGER PRIMARY KEY);
CREATE TABLE holes (id INTEGER PRIMARY KEY);
CREATE VIRTUAL TABLE words USING fts5 (
    text, content = 'passages', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER passage_added AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, text) VALUES (NEW.id, NEW.text);
    INSERT INTO pending (id) VALUES (NEW.id);
    DELETE FROM holes WHERE id = NEW.id;
END;
CREATE TRIGGER passage_removed AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', OLD.id, OLD.text);
    DELETE FROM pending WHERE id = OLD.id;
    DELETE FROM vectors WHERE id = OLD.id;
    INSERT INTO holes (id) VALUES (OLD.id);
END;
CREATE TRIGGER text_changed AFTER UPDATE OF text ON passages WHEN NEW.text IS NOT OLD.text BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', OLD.id, OLD.text);
    INSERT INTO words (rowid, text) VALUES (NEW.id, NEW.text);
    DELETE FROM vectors WHERE id = NEW.id;
    INSERT INTO pending (id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER passage_renumbered BEFORE UPDATE OF id ON passages WHEN NEW.id IS NOT OLD.id BEGIN
    SELECT RAISE(ABORT, 'a passage keeps its number');
END;

CREATE TRIGGER vector_fits BEFORE INSERT ON vectors
WHEN NOT EXISTS (
    SELECT 1 FROM collection
    WHERE NEW.generation = generation AND typeof(NEW.vector) = 'blob' AND length(NEW.vector) = 4 * dim
) OR NOT EXISTS (SELECT 1 FROM passages WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'a vector of another model, or of no passage');
END;
CREATE TRIGGER vector_added AFTER INSERT ON vectors BEGIN
    DELETE FROM pending WHERE id = NEW.id;
    INSERT INTO stale (id) VALUES (NEW.id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER vector_removed AFTER DELETE ON vectors BEGIN
    INSERT INTO stale (id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER vector_changed BEFORE UPDATE ON vectors BEGIN
    SELECT RAISE(ABORT, 'a vector is replaced by removing it and adding another');
END;
CREATE TRIGGER model_changed BEFORE UPDATE OF model, model_version, dim, generation ON collection
WHEN EXISTS (SELECT 1 FROM vectors) BEGIN
    SELECT RAISE(ABORT, 'the collection still has vectors of the model before');
END;
CREATE TRIGGER collection_removed BEFORE DELETE ON collection BEGIN
    SELECT RAISE(ABORT, 'the collection says which model made its vectors');
END;
"""


def m001_passages_vectors_and_words(connection: sqlite3.Connection) -> None:
    for statement in _statements(_FIRST):
        connection.execute(statement)


MIGRATIONS: Final[tuple[Migration, ...]] = (m001_passages_vectors_and_words,)
"""In the order in which they are applied. Add at the end; never change one that was released."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: tuple[Migration, ...] = MIGRATIONS) -> list[str]:
    """Apply what is missing, each in a transaction of its own with its name. Returns the names applied.

    Raises `StoreError` for a database of a newer version.
    """
    known = [migration.__name__ for migration in migrations]
    before = applied(connection)
    if unknown := [name for name in before if name not in known]:
        raise StoreError(
            f"{path} was written by a newer version of edge-agent ({', '.join(unknown)}).",
            hint="Update edge-agent, or remove the collection and create it again.",
        )
    if before == known:
        return []
    done: list[str] = []
    for migration in migrations:
        with transaction(connection, durable=False):
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT UNIQUE)")
            # Looked up inside the transaction: another process may be at it as well.
            if migration.__name__ not in applied(connection):
                migration(connection)
                connection.execute("INSERT INTO migrations (name) VALUES (?)", (migration.__name__,))
                done.append(migration.__name__)
    return done


def applied(connection: sqlite3.Connection) -> list[str]:
    """The names of the migrations that the database has had, in order."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone() is None:
        return []
    return [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY number")]


def _statements(script: str) -> list[str]:
    """`executescript` would commit the transaction, so the script is taken apart."""
    found: list[str] = []
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text.strip())
            text = ""
    return found
