"""What a worker writes to its standard error: bytes in, bounded lines out. No clock, no I/O."""

from __future__ import annotations

from collections import deque

LINE_CHARACTERS = 500
TAIL_LINES = 20
LINES_PER_SECOND = 20.0
BURST_LINES = 200.0


class ChildLog:
    """Splits output into lines, keeps the last of them for crash messages, and lets a bounded rate through."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._partial = b""
        self._tokens = BURST_LINES
        self._filled_at: float | None = None
        self._left_out = 0

    def feed(self, data: bytes, now: float) -> list[str]:
        """The lines that `data` completes and that the rate allows; a gap is reported by a line of its own."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > 4 * LINE_CHARACTERS:
            whole.append(self._partial)
            self._partial = b""
        return [line for raw in whole for line in self._admit(raw, now)]

    def flush(self, now: float) -> list[str]:
        """The unfinished last line, if any."""
        raw, self._partial = self._partial, b""
        return self._admit(raw, now)

    def _admit(self, raw: bytes, now: float) -> list[str]:
        line = _clean(raw)
        if not line:
            return []
        self.tail.append(line)
        if self._filled_at is not None:
            self._tokens = min(BURST_LINES, self._tokens + (now - self._filled_at) * LINES_PER_SECOND)
        self._filled_at = now
        if self._tokens < 1:
            self._left_out += 1
            return []
        self._tokens -= 1
        if not self._left_out:
            return [line]
        gap = f"({self._left_out} lines left out)"
        self._left_out = 0
        return [gap, line]


def _clean(raw: bytes) -> str:
    """One line without terminal control characters, cut to a bounded length."""
    text = raw[: 4 * LINE_CHARACTERS].decode("utf-8", "replace").rstrip()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= LINE_CHARACTERS else text[: LINE_CHARACTERS - 1] + "…"
