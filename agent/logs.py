"""Log lines: text for people, one JSON object per line for machines; always to standard error.

A record's `fields` (`extra={"fields": {...}}`) are its structured part: JSON spreads them over the object, text leaves
them out because the message says the same. Control characters never reach the output as they are: what a client sends
cannot forge a line or move a terminal's cursor.

Where standard error is systemd's journal, text goes to the journal's own socket, and `fields` become fields there:
`EDGE_AGENT_MODEL`, `EDGE_AGENT_REQUEST_ID`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

from agent.journal import JournalSocket, field_name

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_COLORS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31;1m"}
_RESET = "\x1b[0m"
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog's, which journald reads
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "fields"}
_RESERVED = frozenset({"time", "level", "logger", "message", "exception"})
_TAG_LENGTH = 8

Format = Literal["text", "json"]


def start_logging(
    level: str,
    format: Format,
    *,
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Make the root logger write to `stream` (standard error). Replaces what an earlier call set up."""
    stream = stream or sys.stderr
    journal = is_journal(stream, environment)
    handler: logging.Handler = logging.StreamHandler(stream)
    if format == "json":
        handler.setFormatter(JsonFormatter(journal=journal))
    else:
        handler.setFormatter(TextFormatter(color=stream.isatty(), journal=journal))
        handler = JournalHandler(handler) if journal else handler
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, JournalHandler):
            old.close()
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    logging.getLogger("asyncio").setLevel(max(LEVELS[level], logging.INFO))  # its debug lines are about selectors
    logging.raiseExceptions = False  # a closed stderr must not become an endless complaint about itself


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `stream` goes to systemd's journal, which stamps the time itself (systemd.exec(5), $JOURNAL_STREAM)."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    if not inode:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (str(status.st_dev), str(status.st_ino)) == (device, inode)


def escaped(text: str) -> str:
    """`text` on one line: control characters, line separators and lone surrogates as backslash escapes."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def rfc3339(seconds: float) -> str:
    """Unix time as `2025-06-01T12:00:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., <fields>, "exception": ...}`.

    In the journal with the priority in front, which the journal takes off again.
    """

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_priority(record)}>" if self._journal else ""
        return priority + self._object(record)

    def _object(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _whole(record.getMessage()),
        }
        for name, value in extra_fields(record).items():
            line[f"{name}_" if name in _RESERVED else name] = value
        if record.exc_info:
            line["exception"] = _whole(self.formatException(record.exc_info))
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (UnicodeEncodeError, TypeError, RecursionError):
            plain = {
                name: value if isinstance(value, int | float) else _whole(str(value)) for name, value in line.items()
            }
            return msgspec.json.encode(plain).decode()


class TextFormatter(logging.Formatter):
    """`2025-06-01T12:00:00.000Z info    runtime.model  Model qwen is ready.`; in the journal without the time."""

    def __init__(self, *, color: bool = False, journal: bool = False) -> None:
        super().__init__()
        self._color = color
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        level, name = record.levelname.lower(), record.name.removeprefix("agent.")
        if self._journal:
            return "\n".join(f"<{_priority(record)}>{line}" for line in self.told(record).split("\n"))
        tag = f"{level:<{_TAG_LENGTH}}"
        if self._color and level in _COLORS:
            tag = f"{_COLORS[level]}{tag}{_RESET}"
        return f"{rfc3339(record.created)} {tag}{name:<16}{self._message(record)}"

    def told(self, record: logging.LogRecord) -> str:
        """`runtime.model: Model qwen is ready.`, and a traceback below that."""
        return f"{record.name.removeprefix('agent.')}: {self._message(record)}"

    def _message(self, record: logging.LogRecord) -> str:
        message = escaped(record.getMessage())
        if others := extra_fields(record, spread=False):
            message += " " + " ".join(f"{name}={escaped(str(value))}" for name, value in others.items())
        if record.exc_info:
            trace = self.formatException(record.exc_info).split("\n")
            message += "".join(f"\n    {escaped(line)}" for line in trace)
        return message


class JournalHandler(logging.Handler):
    """Records as entries of systemd's journal, with fields; what its socket does not take goes to `fallback`."""

    def __init__(self, fallback: logging.Handler, *, socket: JournalSocket | None = None) -> None:
        super().__init__()
        self._fallback = fallback
        self._socket = socket or JournalSocket()
        self._text = TextFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.send(self.entry(record))
        except OSError:
            self._fallback.handle(record)
        except Exception:
            self.handleError(record)

    def entry(self, record: logging.LogRecord) -> dict[str, str]:
        """The record's fields as the journal calls them; a traceback is part of the message."""
        fields = {
            "MESSAGE": self._text.told(record),
            "PRIORITY": str(_priority(record)),
            "SYSLOG_IDENTIFIER": "edge-agent",
            field_name("logger"): record.name,
        }
        for name, value in extra_fields(record).items():
            fields.setdefault(field_name(name), value if isinstance(value, str) else _json(value))
        return fields

    def close(self) -> None:
        self._socket.close()
        super().close()


def _priority(record: logging.LogRecord) -> int:
    return _PRIORITIES.get(record.levelname.lower(), 6)


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (UnicodeEncodeError, TypeError, RecursionError):
        return str(value)


def extra_fields(record: logging.LogRecord, *, spread: bool = True) -> dict[str, Any]:
    """What the caller gave in `extra`; `spread` puts the members of `fields` beside the others."""
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    fields = getattr(record, "fields", None)
    return {**extra, **fields} if spread and isinstance(fields, Mapping) else extra


def _whole(text: str) -> str:
    """`text` without lone surrogates, which UTF-8 cannot carry."""
    return text.encode("utf-8", "backslashreplace").decode()
