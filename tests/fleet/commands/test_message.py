"""Payloads of any kind are read as one of four things, and never raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.fleet.commands.message import Answer, Clear, Init, Malformed, may_answer_on, read_command, read_request


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", Clear()),
        (b'{"status": "init"}', Init({})),
        (b'{"status": "init", "args": null}', Init({})),
        (b'{"status": "init", "args": {"a": [1]}, "else": 2}', Init({"a": [1]})),
        (b'{"status": "init", "expires_at": 12, "issued_at": 2.5}', Init({}, 12.0, 2.5)),
        (b'{"status": "init", "expires_at": "2030-01-31T12:00:00Z"}', Init({}, 1_896_091_200.0)),
        (b'{"status": "executing"}', Answer("executing")),
        (b'{"status": "successful", "args": 3}', Answer("successful")),
        (b'{"status": "failed"}', Answer("failed")),
    ],
)
def test_what_a_payload_says(payload: bytes, message: object) -> None:
    assert read_command(payload) == message


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "no JSON object"),
        (b'"init"', "no JSON object"),
        (b"{}", "status"),
        (b'{"status": 3}', "status"),
        (b'{"status": "begin"}', "'begin'"),
        (b'{"status": "init", "args": [1]}', "args"),
        (b'{"status": "init", "args": "{}"}', "args"),
        (b'{"status": "init", "expires_at": "soon"}', "expires_at"),
        (b'{"status": "init", "expires_at": true}', "expires_at"),
        (b'{"status": "init", "expires_at": 1e999}', "not valid JSON"),
        (b'{"status": "init", "issued_at": {}}', "issued_at"),
        (b'{"status": "init", "args": {"a": "\\ud800"}}', "not valid JSON"),
    ],
)
def test_what_is_wrong_is_said(payload: bytes, words: str) -> None:
    message = read_command(payload)
    assert isinstance(message, Malformed)
    assert words in message.reason
    assert len(message.reason) < 300


def test_what_was_too_large_to_be_taken_is_no_clear() -> None:
    assert isinstance(read_command(b"", oversized_bytes=10_000_000), Malformed)
    assert isinstance(read_request(b"", oversized_bytes=10_000_000), Malformed)


@pytest.mark.parametrize(
    ("payload", "args"), [(b"", {}), (b" \n", {}), (b"{}", {}), (b'{"status": "init"}', {"status": "init"})]
)
def test_a_request_is_its_arguments(payload: bytes, args: dict[str, object]) -> None:
    assert read_request(payload) == Init(args)


@given(st.binary(max_size=64) | st.text(alphabet='{}[]":,0123456789eE-+.truefalsnl \\u', max_size=64).map(str.encode))
def test_no_payload_raises(payload: bytes) -> None:
    assert isinstance(read_command(payload), Init | Answer | Clear | Malformed)
    assert isinstance(read_request(payload), Init | Malformed)


@pytest.mark.parametrize(
    ("topic", "may"),
    [
        ("fleet/answers/1", True),
        ("te/fleet/answers", True),
        ("te/device", False),
        ("te/device/d/service/edge-agent/cmd/restart/1", False),
        ("te/device/other/service/edge-agent/cmd/restart/1", False),
        ("te/devices/1", True),
        ("a/+/b", False),
        ("a/#", False),
        ("$SYS/x", False),
        ("", False),
        ("a\0b", False),
        ("x" * 70_000, False),
    ],
)
def test_where_answers_may_go(topic: str, may: bool) -> None:
    assert may_answer_on(topic, "te") == may
