"""A form with one file (multipart/form-data, RFC 7578), sent piece by piece: a file may be larger than the memory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from agent.errors import RequestError

_PIECE_BYTES = 256 * 1024


class Form:
    """`fields` are names and values, a name as often as wanted; `file` is at its beginning, and `name` what it is
    called. It can be sent once."""

    def __init__(self, fields: Sequence[tuple[str, str]], file: BinaryIO, name: str) -> None:
        boundary = f"edge-agent-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._name = name
        self._file = file
        self._bytes = os.fstat(file.fileno()).st_size
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(parts).encode("utf-8", "replace")
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    @property
    def length(self) -> int:
        return len(self._head) + self._bytes + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Raises `RequestError` where the file has become shorter."""
        yield self._head
        left = self._bytes
        while left:
            piece = self._file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise RequestError(f"{self._name} became shorter while it was sent.")
            left -= len(piece)
            yield piece
        yield self._tail


def _quoted(name: str) -> str:
    """As browsers do (WHATWG HTML, multipart/form-data encoding)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
