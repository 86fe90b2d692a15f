"""Any bytes are read into bounded values, or refused with a reason."""

from __future__ import annotations

import zlib

import pytest

from agent.fleet.remote.payload import (
    DEPTH,
    INFLATED_BYTES,
    TEXT_CHARACTERS,
    GarbledError,
    inflated,
    read,
    read_object,
    text_of,
)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b'"\\ud800"', "no JSON"),
        (b"NaN", "no JSON"),
        (b"1e999", "no JSON"),
        (b"1" * 5000, "no JSON"),
        (b'{"a": 1', "no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * (DEPTH + 2) + b"]" * (DEPTH + 2), "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(GarbledError, match=reason):
        read(payload)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert read(b"[" * DEPTH + b"]" * DEPTH)


@pytest.mark.parametrize("payload", [b"[]", b"1", b"null", b'"x"'])
def test_an_object_is_asked_for_and_nothing_else(payload: bytes) -> None:
    with pytest.raises(GarbledError, match="no object"):
        read_object(payload)


def test_a_message_that_was_too_large_says_its_size() -> None:
    with pytest.raises(GarbledError, match="2,000,000 bytes"):
        read_object(b"", oversized_bytes=2_000_000)


def test_deflated_telemetry_is_inflated() -> None:
    assert inflated(zlib.compress(b'{"a": 1}')) == b'{"a": 1}'
    assert inflated(b'{"a": 1}') == b'{"a": 1}'


@pytest.mark.parametrize(
    "payload", [b"\x00", b"x", zlib.compress(b"a" * 1000)[:-5], zlib.compress(bytes(INFLATED_BYTES + 1))]
)
def test_a_bomb_or_a_torn_message_is_refused(payload: bytes) -> None:
    with pytest.raises(GarbledError):
        inflated(payload)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (None, ""), (1, "1"), (True, "true"), (["x"], '["x"]'), ("é" * 5000, "é" * TEXT_CHARACTERS + "...")],
)
def test_any_value_becomes_a_short_text(value: object, text: str) -> None:
    assert text_of(value) == text
