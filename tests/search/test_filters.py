"""Filters, run by SQLite on a table of metadata."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import RequestError
from agent.search.filters import condition

PASSAGES: list[dict[str, Any]] = [
    {"topic": "wifi", "year": 2019, "draft": True},
    {"topic": "power", "year": 2021, "draft": False},
    {"topic": "wifi", "year": 2023.5},
    {"topic": None, "year": "2021"},
    {"a b.c": "odd name", "tags": ["x", "y"], "$": 1, "0": "digit"},
    {},
    {"topic": "x' OR 1=1 --", "year": -5},
]


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE passages (id INTEGER PRIMARY KEY, metadata TEXT)")
    connection.executemany("INSERT INTO passages VALUES (?, ?)", enumerate(map(json.dumps, PASSAGES)))
    yield connection
    connection.close()


def found(database: sqlite3.Connection, wanted: dict[str, Any]) -> list[int]:
    made = condition(wanted)
    return [row for (row,) in database.execute(f"SELECT id FROM passages WHERE {made.sql}", made.parameters)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"topic": "wifi"}, [0, 2]),
        ({"topic": ["wifi", "power"]}, [0, 1, 2]),
        ({"topic": []}, []),
        ({"topic": None}, [3, 4, 5]),
        ({"topic": ["power", None]}, [1, 3, 4, 5]),
        ({"topic": "wifi", "year": 2019}, [0]),
        ({"year": 2021}, [1]),
        ({"year": 2021.0}, [1]),
        ({"year": "2021"}, [1, 3]),
        ({"year": {"gte": 2019, "lt": 2023.5}}, [0, 1]),
        ({"year": {"gt": 2021}}, [2]),
        ({"year": {"lte": 2019}}, [0, 6]),
        ({"year": {"gte": "2"}}, [3]),
        ({"draft": True}, [0]),
        ({"draft": False}, [1]),
        ({"draft": 1}, []),
        ({"a b.c": "odd name"}, [4]),
        ({"$": 1}, [4]),
        ({"0": "digit"}, [4]),
        ({"tags": "x"}, []),
        ({"unheard of": "x"}, []),
        ({"topic": "x' OR 1=1 --"}, [6]),
        ({"year": 10**30}, []),
    ],
)
def test_what_a_filter_finds(database: sqlite3.Connection, wanted: dict[str, Any], expected: list[int]) -> None:
    assert found(database, wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"a": {"near": 3}}, "near"),
        ({"a": {}}, "nothing"),
        ({"a": {"gte": None}}, "None"),
        ({"a": {"gte": [1]}}, "1"),
        ({"a": [[1]]}, "1"),
        ({"a": {"gte": True}}, "True"),
        ({"a": nan}, "nan"),
        ({"a": {"lt": inf}}, "inf"),
        ({"a": "\ud800"}, "Unicode"),
        ({'a"b': 1}, "cannot be filtered"),
        ({"a\\": 1}, "cannot be filtered"),
        ({"a\n": 1}, "cannot be filtered"),
        ({"\ud800": 1}, "cannot be filtered"),
        ({"": 1}, "field name"),
        ({"x" * 300: 1}, "field name"),
        ({3: 1}, "field name"),
        ({str(n): 1 for n in range(33)}, "33"),
        ({"a": list(range(1001))}, "1,001"),
        ("topic = 1", "an object"),
    ],
)
def test_a_wrong_filter_is_refused_and_says_why(wanted: Any, named: str) -> None:
    with pytest.raises(RequestError, match=named) as caught:
        condition(wanted)
    assert caught.value.param == "filter"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner)
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=6) | st.sampled_from(["topic", "year"]), anything, max_size=3))
def test_whatever_is_given_is_a_valid_condition_or_refused(wanted: dict[str, Any]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE passages (id INTEGER PRIMARY KEY, metadata TEXT)")
    connection.executemany("INSERT INTO passages VALUES (?, ?)", enumerate(map(json.dumps, PASSAGES)))
    try:
        found(connection, wanted)
    except RequestError:
        return
    finally:
        connection.close()


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.text("'\"%;-$.[]\\ x", max_size=6), min_size=1))
def test_a_text_finds_exactly_itself(values: dict[str, str]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE passages (id INTEGER PRIMARY KEY, metadata TEXT)")
    others = {name: value + "." for name, value in values.items()}
    connection.executemany("INSERT INTO passages VALUES (?, ?)", [(1, json.dumps(values)), (2, json.dumps(others))])
    assert found(connection, values) == [1]
    connection.close()
