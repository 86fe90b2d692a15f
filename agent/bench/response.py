"""An HTTP answer read as it comes, as little as can be: what parses it shares the cores with what is measured."""

from __future__ import annotations

from typing import Final

HEAD_LIMIT_BYTES: Final = 64 * 1024
BODY_LIMIT_BYTES: Final = 256 * 1024 * 1024
DONE: Final = b"[DONE]"


class Response:
    """`feed` what arrived and when, `end` when the connection was closed. Both raise `ValueError` for what is no HTTP.

    Of server-sent events only the data is kept, unparsed, with the time at which its last byte came. Any other body is
    in `body`. `complete` is set at the end of either.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.events: list[tuple[float, bytes]] = []
        self.body = bytearray()
        self.complete = False
        self._raw = bytearray()
        self._chunked = False
        self._streams = False
        self._length: int | None = None
        self._taken = 0

    def feed(self, data: bytes, now: float) -> None:
        if self.complete:
            return
        self._raw += data
        if not self.status and not self._read_head():
            return
        if self._chunked:
            self._read_chunks()
        else:
            self._taken += len(self._raw)
            self.body += self._raw
            self._raw.clear()
            self.complete = self._length is not None and self._taken >= self._length
        if len(self.body) > BODY_LIMIT_BYTES or len(self._raw) > BODY_LIMIT_BYTES:
            raise ValueError(f"the answer is larger than {BODY_LIMIT_BYTES} bytes")
        if self._streams:
            self._read_events(now)

    def end(self, now: float) -> None:
        """Raises `ValueError` where more had to come."""
        if self.complete:
            return
        if not self.status or self._chunked or self._length is not None:
            raise ValueError("the connection closed before the answer was complete")
        if self._streams and self.body:
            self.body += b"\n"
            self._read_events(now)
        self.complete = True

    def _read_head(self) -> bool:
        end = self._raw.find(b"\r\n\r\n")
        if end < 0:
            if len(self._raw) > HEAD_LIMIT_BYTES:
                raise ValueError("the headers of the answer have no end")
            return False
        first, *lines = self._raw[:end].decode("latin-1").split("\r\n")
        del self._raw[: end + 4]
        protocol, _, rest = first.partition(" ")
        code = rest[:3]
        if not protocol.startswith("HTTP/1.") or not code.isdecimal() or len(code) < 3:
            raise ValueError("the answer is not HTTP/1.1")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        if not self._chunked and (length := self.headers.get("content-length")) is not None:
            if not length.isdecimal():
                raise ValueError("the answer has a length that is no number")
            self._length = int(length)
        self._streams = self.headers.get("content-type", "").lower().startswith("text/event-stream")
        self.status = int(code)
        return True

    def _read_chunks(self) -> None:
        raw = self._raw
        while (end := raw.find(b"\r\n")) >= 0:
            length = int(raw[:end].partition(b";")[0], 16)
            if length < 0:
                raise ValueError("a piece of the answer has a negative length")
            if length == 0:
                self.complete = True
                return
            stop = end + 2 + length
            if len(raw) < stop + 2:
                return
            self.body += raw[end + 2 : stop]
            del raw[: stop + 2]

    def _read_events(self, now: float) -> None:
        body = self.body
        while (end := body.find(b"\n")) >= 0:
            if body.startswith(b"data:"):
                data = bytes(body[5:end]).strip()
                self.events.append((now, data))
                # Some servers keep the connection open after it.
                self.complete = self.complete or data == DONE
            del body[: end + 1]
