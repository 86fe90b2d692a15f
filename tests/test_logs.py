"""Log lines: structure, escapes, color and the journal's form."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.logs import JsonFormatter, TextFormatter, escaped, is_journal, rfc3339, start_logging

ATTACKS = [
    "a\nb",
    "a\r\nb",
    "a\x1b[31mb",
    "a\x00b",
    "a\x85b",
    "a\u2028b",
    "a\u202eb",
    "a\x7fb",
    "a\x9b31mb",
    "a\ud800b",
]


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.getLogger("agent.test").makeRecord("agent.test", level, "f.py", 1, message, arguments, None, "f")
    made.created = 1_700_000_000.25
    vars(made).update(extra)
    return made


def failing_record() -> logging.LogRecord:
    try:
        raise ValueError("bad\nvalue\x1b[2J")
    except ValueError:
        return logging.LogRecord("agent.test", logging.ERROR, "f.py", 1, "failed", (), sys.exc_info())


def test_json_has_time_level_logger_message_and_fields() -> None:
    line = json.loads(JsonFormatter().format(record("%s is ready", "qwen", model="qwen", fields={"ttft_ms": 1.5})))
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "agent.test",
        "message": "qwen is ready",
        "model": "qwen",
        "ttft_ms": 1.5,
    }


def test_json_fields_cannot_replace_what_every_line_has() -> None:
    line = json.loads(JsonFormatter().format(record("real", fields={"message": "forged", "level": "debug"})))
    assert (line["message"], line["level"], line["message_"]) == ("real", "info", "forged")


@pytest.mark.parametrize("value", [Path("/x"), object(), {1, 2}, {"a": Path("/x")}, "\ud800", float("nan"), 2**70])
def test_json_takes_any_value(value: object) -> None:
    assert "value" in json.loads(JsonFormatter().format(record("x", fields={"value": value})))


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_control_character_reaches_a_line(attack: str) -> None:
    for formatter in (TextFormatter(), TextFormatter(journal=True), JsonFormatter()):
        text = formatter.format(record("%s", attack, client=attack))
        assert len(text.splitlines()) == 1 or isinstance(formatter, JsonFormatter)
        assert "\n" not in text
        text.encode()
        if isinstance(formatter, TextFormatter):
            assert text.isprintable()
        else:
            assert "\x1b" not in text


def test_tabs_and_letters_of_all_languages_stay() -> None:
    assert escaped("größer\t日本 🙂") == "größer\t日本 🙂"


def test_an_exception_keeps_its_lines_but_not_its_control_characters() -> None:
    text = TextFormatter().format(failing_record())
    assert "\n    Traceback" in text
    assert "\x1b" not in text
    assert "ValueError" in json.loads(JsonFormatter().format(failing_record()))["exception"]


def test_text_is_aligned_and_leaves_fields_to_json() -> None:
    text = TextFormatter().format(record("hello", fields={"a": 1}, model="m"))
    assert text == "2023-11-14T22:13:20.250Z info    test            hello model=m"


def test_color_only_where_asked() -> None:
    warning = record("careful", level=logging.WARNING)
    assert "\x1b[" in TextFormatter(color=True).format(warning)
    assert "\x1b[" not in TextFormatter().format(warning)


def test_the_journal_gets_priorities_and_no_time() -> None:
    assert TextFormatter(journal=True).format(record("x", level=logging.WARNING)) == "<4>test: x"
    lines = TextFormatter(journal=True).format(failing_record()).split("\n")
    assert all(line.startswith("<3>") for line in lines)


def test_the_journal_is_recognized_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": "nonsense"})
        assert not is_journal(stream, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@pytest.fixture
def _untouched_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)


@pytest.mark.usefixtures("_untouched_root")
def test_starting_twice_writes_once_and_levels_count() -> None:
    first, second = io.StringIO(), io.StringIO()
    start_logging("debug", "text", stream=first, environment={})
    start_logging("warning", "json", stream=second, environment={})
    logging.getLogger("agent.x").info("quiet")
    logging.getLogger("agent.x").warning("loud")
    assert first.getvalue() == ""
    assert [json.loads(line)["message"] for line in second.getvalue().splitlines()] == ["loud"]
