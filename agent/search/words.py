"""Ranking by words: BM25 in SQLite's FTS5."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from agent.search.filters import Condition, Parameter

WORDS_LIMIT: Final = 64
WORD_LIMIT: Final = 128
_WORD: Final = re.compile(r"\w+")


def match_expression(text: str) -> str:
    """An FTS5 query that finds passages with any of the text's words; "" where there is no word in it.

    Every word is a quoted string, so nothing of the text is taken for an operator. Any word is enough, because a
    question has words that its answer has not; BM25 puts passages with more and rarer ones first.
    """
    words: dict[str, None] = {}
    for found in _WORD.finditer(text.encode("utf-8", "replace").decode("utf-8")):
        words.setdefault(found.group()[:WORD_LIMIT].lower())
        if len(words) == WORDS_LIMIT:
            break
    return " OR ".join(f'"{word}"' for word in words)


def best_by_words(
    connection: sqlite3.Connection, text: str, k: int, allowed: Condition | None = None
) -> list[tuple[int, float]]:
    """(passage number, score), the best first, equal ones by number; the score is BM25, higher is better."""
    expression = match_expression(text)
    if not expression:
        return []
    parameters: tuple[Parameter, ...] = (expression,)
    if allowed is None:
        source = "words WHERE words MATCH ?"
    else:
        source = f"words JOIN passages ON passages.id = words.rowid WHERE words MATCH ? AND {allowed.sql}"
        parameters = (expression, *allowed.parameters)
    rows = connection.execute(
        f"SELECT words.rowid, -bm25(words) AS score FROM {source} ORDER BY score DESC, words.rowid LIMIT ?",
        (*parameters, k),
    )
    return [(int(row), float(score)) for row, score in rows]
