"""Log lines as entries of systemd's journal: a real socket stands in for journald's."""

from __future__ import annotations

import logging
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journal import VALUE_LIMIT_BYTES, JournalSocket, encode, field_name
from agent.logs import JournalHandler, JsonFormatter


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "socket"))
        line.settimeout(5)
        yield line


class Kept(logging.Handler):
    """What did not go to the journal."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def decoded(data: bytes) -> dict[str, str]:
    """As journald reads it."""
    found = {}
    while data:
        name, newline, rest = data.partition(b"\n")
        assert newline
        if b"=" in name:
            key, _, value = name.partition(b"=")
            data = rest
        else:
            key, size = name, struct.unpack("<Q", rest[:8])[0]
            value, data = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[key.decode()] = value.decode()
    return found


def record(message: str = "hello", level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("agent.test", level, "f.py", 1, message, (), None)
    if fields:
        made.fields = fields
    return made


@pytest.mark.parametrize("value", ["plain", "a=b", "two\nlines", "\n", "", "ü\u2028", "MESSAGE=x\nPRIORITY=0"])
def test_a_value_arrives_whole_and_adds_no_field(value: str) -> None:
    assert decoded(encode({"MESSAGE": value, "PRIORITY": "6"})) == {"MESSAGE": value, "PRIORITY": "6"}


def test_lone_surrogates_and_endless_values_are_made_fit() -> None:
    fields = decoded(encode({"A": "\ud800", "B": "x" * 1_000_000}))
    assert fields["A"] == "\\ud800"
    assert len(fields["B"]) == VALUE_LIMIT_BYTES + len(" (cut)")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("model", "EDGE_AGENT_MODEL"),
        ("request_id", "EDGE_AGENT_REQUEST_ID"),
        ("a b=c\n", "EDGE_AGENT_A_B_C_"),
        ("x" * 100, "EDGE_AGENT_" + "X" * 53),
    ],
)
def test_names_are_what_the_journal_takes(name: str, field: str) -> None:
    assert field_name(name) == field


def test_a_record_s_fields_become_the_entry_s(tmp_path: Path, journald: socket.socket) -> None:
    handler = JournalHandler(Kept(), socket=JournalSocket(tmp_path / "socket"))
    handler.handle(record("ready\nPRIORITY=0", logging.WARNING, model="qwen", status=200, nothing=None, deep={"a": 1}))
    assert decoded(journald.recv(10_000)) == {
        "MESSAGE": "test: ready\\nPRIORITY=0",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "edge-agent",
        "EDGE_AGENT_LOGGER": "agent.test",
        "EDGE_AGENT_MODEL": "qwen",
        "EDGE_AGENT_STATUS": "200",
        "EDGE_AGENT_NOTHING": "null",
        "EDGE_AGENT_DEEP": '{"a":1}',
    }


def test_a_field_cannot_replace_the_message(tmp_path: Path, journald: socket.socket) -> None:
    handler = JournalHandler(Kept(), socket=JournalSocket(tmp_path / "socket"))
    forged = record("real", logger="forged", MESSAGE="forged", PRIORITY="0")
    handler.handle(forged)
    fields = decoded(journald.recv(10_000))
    assert (fields["MESSAGE"], fields["EDGE_AGENT_LOGGER"]) == ("test: real", "agent.test")
    assert fields["PRIORITY"] == "6"


def test_a_traceback_is_part_of_the_message(tmp_path: Path, journald: socket.socket) -> None:
    handler = JournalHandler(Kept(), socket=JournalSocket(tmp_path / "socket"))
    try:
        raise ValueError("bad")
    except ValueError:
        handler.handle(logging.LogRecord("agent.test", logging.ERROR, "f.py", 1, "failed", (), sys.exc_info()))
    message = decoded(journald.recv(10_000))["MESSAGE"]
    assert message.startswith("test: failed\n    Traceback")
    assert message.endswith("ValueError: bad")


def test_without_a_journal_lines_go_to_the_stream(tmp_path: Path) -> None:
    kept = Kept()
    JournalHandler(kept, socket=JournalSocket(tmp_path / "socket")).handle(record("hello"))
    assert kept.messages == ["hello"]


def test_a_journal_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    kept = Kept()
    handler = JournalHandler(kept, socket=JournalSocket(tmp_path / "socket"))
    for message in ("first", "third"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(str(tmp_path / "socket"))
            handler.handle(record(message))
            assert decoded(journald.recv(10_000))["MESSAGE"] == f"test: {message}"
        handler.handle(record("between"))
        (tmp_path / "socket").unlink()
    assert kept.messages == ["between", "between"]


def test_a_journal_that_does_not_read_holds_nobody_up_and_the_loss_is_told(
    tmp_path: Path, journald: socket.socket
) -> None:
    kept = Kept()
    handler = JournalHandler(kept, socket=JournalSocket(tmp_path / "socket"))
    for _ in range(2000):
        handler.handle(record("x" * 1000))
    taken = 0
    journald.setblocking(False)
    while True:
        try:
            journald.recv(10_000)
        except BlockingIOError:
            break
        taken += 1
    handler.handle(record("after"))
    fields = decoded(journald.recv(10_000))
    assert int(fields["EDGE_AGENT_LOST_LINES"]) == 2000 - taken > 0
    assert kept.messages == []


def test_json_in_the_journal_has_its_priority_in_front() -> None:
    assert JsonFormatter(journal=True).format(record("hello", logging.ERROR)).startswith('<3>{"time":')
