"""Numbers within bounds and strings that match patterns, for bounds and patterns of all kinds."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engines.llama.grammar import numbers
from agent.engines.llama.grammar.pattern import from_pattern
from agent.engines.llama.grammar.strings import FORMATS
from agent.engines.llama.json_grammar import grammar_from_schema
from agent.errors import RequestError
from tests.engines.grammar_checker import GrammarChecker

_integers = st.integers(-(10**6), 10**6) | st.integers(-(10**20), 10**20) | st.integers(-20, 20)


@settings(max_examples=200, deadline=None)
@given(st.tuples(_integers, _integers).map(sorted), _integers, st.sampled_from([1, 1, 2, 7, 40, 300]))
def test_integers_are_accepted_exactly_within_their_bounds(
    judge: GrammarChecker, bounds: list[int], value: int, multiple_of: int
) -> None:
    low, high = bounds
    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high, "multipleOf": multiple_of}
    if multiple_of > 1 and max(map(abs, bounds)) > 10**9:
        schema = {**schema, "minimum": low % 10**9, "maximum": 10**9}
    first, last = schema["minimum"], schema["maximum"]
    try:
        grammar = grammar_from_schema(schema)
    except RequestError:
        assert last // multiple_of < -(-first // multiple_of)
        return
    for n in {value, first, last, first - 1, last + 1, (first + last) // 2, value // multiple_of * multiple_of}:
        assert judge.accepts(grammar, str(n)) == (first <= n <= last and n % multiple_of == 0), n


_floats = st.floats(-1e6, 1e6) | st.floats(-1e18, 1e18) | st.sampled_from([0.0, 0.1, 1 / 3, 5e-324, 2.0**53])
_bounds = _floats | _integers


@settings(max_examples=200, deadline=None)
@given(
    st.lists(_bounds, min_size=2, max_size=2).map(sorted),
    st.sampled_from(["minimum", "exclusiveMinimum"]),
    st.sampled_from(["maximum", "exclusiveMaximum"]),
    st.decimals(-(10**6), 10**6, places=6),
    st.integers(0, 2**32),
)
def test_numbers_stay_within_their_bounds(
    judge: GrammarChecker, bounds: list[Any], least: str, most: str, value: Any, seed: int
) -> None:
    schema = {"type": "number", least: bounds[0], most: bounds[1]}
    if bounds[1] - bounds[0] < 1e-30:
        return
    grammar = grammar_from_schema(schema)
    for text in (f"{value.normalize():f}", *(repr(b) for b in bounds if "e" not in repr(b))):
        if judge.accepts(grammar, text):
            jsonschema.validate(json.loads(text), schema)
        elif bounds[0] < float(text) < bounds[1] and max(map(abs, bounds)) < 2**53:
            assert len(text.partition(".")[2]) > numbers.MAX_PLACES
    random = np.random.default_rng(seed)
    for _ in range(3):
        written = judge.write(grammar, random, 200)
        assert written is not None
        jsonschema.validate(json.loads(written), schema)


@pytest.mark.parametrize(
    "pattern",
    ["^a.c$", "x|y$", "^$", "^(ab?)+$", "^[^abc]{2}$", r"^\w+@\w+\.(com|org)$", r"^\S\s\D\W$", "^a$|^b", "^[a-]$",
     r"^(?:a|(?P<n>b)){2,3}?$", r"^[^\d\s]+$", r"^\x41\u00e9\/\.$", "^(?:$)+^", "(a*)*b", "^(a|b|)+$", "[\\d_]",
     *(f"^(?:{p})$" for p in FORMATS.values())],
)  # fmt: skip
def test_what_is_written_for_a_pattern_matches_it(judge: GrammarChecker, pattern: str) -> None:
    grammar = grammar_from_schema({"type": "string", "pattern": pattern})
    random = np.random.default_rng(7)
    texts = [text for _ in range(10) if (text := judge.write(grammar, random, 200)) is not None]
    assert texts or not pattern.startswith("^")
    assert [text for text in texts if not re.search(pattern, json.loads(text))] == []


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "^", "$", r"\d", r"\w"]),
        lambda part: st.one_of(
            st.lists(part, max_size=3).map("".join),
            st.lists(part, min_size=1, max_size=3).map("|".join).map("({})".format),
            st.tuples(part, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(
                lambda pair: f"(?:{pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=8,
    ),
    st.text("ab1- ", max_size=6),
)
def test_patterns_mean_what_python_means(pattern: str, text: str) -> None:
    assert from_pattern(pattern).accepts(text) == (re.search(pattern.replace("$", r"\Z"), text) is not None)
