"""systemd's journal over its own socket, so that lines carry fields (systemd.io/JOURNAL_NATIVE_PROTOCOL).

`journalctl -u edge-agent EDGE_AGENT_MODEL=qwen` then shows the lines of one model.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
VALUE_LIMIT_BYTES = 32 * 1024
"""A datagram must fit the socket's buffer (212992 bytes on Linux); only a traceback comes near."""

_NAME = re.compile(r"[^A-Z0-9_]")


def encode(fields: Mapping[str, str]) -> bytes:
    """The protocol's form of `fields`: `NAME=value`, or with its length where the value has several lines."""
    parts: list[bytes] = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if len(data) > VALUE_LIMIT_BYTES:
            data = data[:VALUE_LIMIT_BYTES] + b" (cut)"
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def field_name(name: str) -> str:
    """`request_id` as `EDGE_AGENT_REQUEST_ID`; at most 64 characters, which is the journal's limit."""
    return f"EDGE_AGENT_{_NAME.sub('_', name.upper())}"[:64]


class JournalSocket:
    """Sends without ever waiting. Raises `OSError` when nobody listens; what the journal is too busy for is lost, and
    counted: the next line that gets through tells in `EDGE_AGENT_LOST_LINES`."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path
        self._line: socket.socket | None = None
        self._lost = 0

    def send(self, fields: Mapping[str, str]) -> None:
        if self._line is None:
            line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                line.connect(str(self._path))
            except OSError:
                line.close()
                raise
            self._line = line
        more = {field_name("lost_lines"): str(self._lost)} if self._lost else {}
        try:
            self._line.send(encode({**fields, **more}), socket.MSG_DONTWAIT)
            self._lost = 0
        except BlockingIOError:
            self._lost += 1
        except OSError:
            self.close()  # the journal was restarted: the next line connects again
            raise

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
