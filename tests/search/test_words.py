from __future__ import annotations

import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.search.words import WORDS_LIMIT, best_by_words, match_expression


def index(texts: list[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2')")
    connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", enumerate(texts, start=1))
    return connection


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("reset the Router", '"reset" OR "the" OR "router"'),
        ('say "no" AND NEAR(x, y)', '"say" OR "no" OR "and" OR "near" OR "x" OR "y"'),
        ("a a A", '"a"'),
        ("", ""),
        ("?!* - ()", ""),
        ("café 東京 2024", '"café" OR "東京" OR "2024"'),
        ("\ud800 lone", '"lone"'),
    ],
)
def test_words_are_quoted_and_joined_by_or(text: str, expression: str) -> None:
    assert match_expression(text) == expression


def test_a_long_text_is_searched_for_its_first_words() -> None:
    assert match_expression(" ".join(map(str, range(500)))).count(" OR ") == WORDS_LIMIT - 1


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
@example('"')
@example("text:x")
@example("_ ^ * + NOT")
@example("\0")
def test_every_text_is_a_valid_query(text: str) -> None:
    connection = index(["some passage", "NOT another"])
    best_by_words(connection, text, 5)
    connection.close()


def test_the_passage_with_more_and_rarer_words_is_first_whatever_their_accents() -> None:
    connection = index(["the cafe is the place", "the cat", "the résumé of the café", "dogs"])
    rows = best_by_words(connection, "the resume cafe", 10)
    assert [row for row, _ in rows] == [3, 1, 2]
    assert [score for _, score in rows] == sorted((score for _, score in rows), reverse=True)
    assert len(best_by_words(connection, "the resume cafe", 1)) == 1
    connection.close()
