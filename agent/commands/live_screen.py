"""Live text on a terminal: finished lines stand, what may still change is rewritten below them.

The cursor rests in the empty first column of the rows that are rewritten. So a terminal that was made narrower or
wider moves it along with them, and clearing from there to the end of the screen takes away all that was drawn.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

from agent.commands.columns import wrapped

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
CLEAR_BELOW = "\r\x1b[J"
METER = " ▁▂▃▄▅▆▇█"
ASCII_METER = " .:-=+*#@"
METER_FLOOR_DBFS = -60.0
CLIPPING_DBFS = -0.1
INDENT = 3
MAX_ROWS = 8

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Also what turns the direction of everything after it."""


class LiveScreen:
    """`stream` is a terminal. `show` takes the events of `GET /v1/audio/live`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._unicode = (stream.encoding or "").lower().replace("-", "").startswith("utf")
        self._open: dict[int, tuple[str, str]] = {}
        self._state = "opening the microphone"
        self._meter = " "
        self._drawn: tuple[str, tuple[int, int]] | None = None
        self._old_handler = signal.getsignal(signal.SIGCONT)
        with suppress(ValueError):  # outside the main thread
            signal.signal(signal.SIGCONT, self._resumed)
        self._draw()

    def show(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "level":
                self._meter = self._bar(event["rms_dbfs"], event["peak_dbfs"])
            case "partial":
                self._open[event["segment"]] = (event["text"], event["committed"])
            case "speech_start":
                self._open.setdefault(event["segment"], ("", ""))
            case "speech_end" if not self._open.get(event["segment"], ("", ""))[0]:
                self._open.pop(event["segment"], None)  # where nothing is said about it, no final comes either
            case "final" | "overload" | "error":
                self._open.pop(event["segment"], None)
                if event["type"] == "final" and event["text"]:
                    self._print(self._final(event))
            case "device":
                self._state = "" if event["state"] == "open" else f"microphone {event['state']}"
                self._meter = " "
                if event["state"] == "failed":  # nothing that was begun is finished after that
                    self._open.clear()
        self._draw()

    def say(self, text: str) -> None:
        self._wipe()
        print(text, file=sys.stderr, flush=True)
        self._draw()

    def close(self) -> None:
        """What was not finished stays where it is."""
        rest = [self._styled(text, committed) for text, committed in self._open.values() if text]
        self._open.clear()
        self._wipe()
        for rows in rest:
            self._write("\n".join(" " * INDENT + row for row in rows) + "\n")
        with suppress(ValueError):
            signal.signal(signal.SIGCONT, self._old_handler)

    def _print(self, text: str) -> None:
        self._wipe()
        self._write(text)

    def _final(self, event: Mapping[str, Any]) -> str:
        """The time, and the text indented below it; on a very narrow terminal the text below the time."""
        clock = time.strftime("%H:%M:%S", time.localtime(event["time"]))
        text = self._printable(event["text"])
        columns = self._size()[0]
        indent = len(clock) + 2
        if columns < 3 * indent:
            rows = [text[row.start : row.end] for row in wrapped(text, columns - 1)]
            return f"{DIM}{clock}{PLAIN}\n" + "".join(f"{row}\n" for row in rows)
        rows = [text[row.start : row.end] for row in wrapped(text, columns - indent - 1)]
        lines = [f"{DIM}{clock}{PLAIN}  {rows[0]}", *(f"{' ' * indent}{row}" for row in rows[1:])]
        return "".join(f"{line}\n" for line in lines)

    def _draw(self) -> None:
        """All rows where they changed or the terminal did, the meter alone otherwise."""
        size = self._size()
        rows = self._rows(size)
        text = "\n".join(" " * INDENT + row for row in rows)
        if self._drawn == (text, size):
            self._write(f"\r {self._meter}\r")
            return
        up = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        self._write(f"{CLEAR_BELOW} {self._meter} {text[INDENT:]}{up}\r")
        self._drawn = (text, size)

    def _rows(self, size: tuple[int, int]) -> list[str]:
        rows: list[str] = []
        for text, committed in self._open.values():
            rows += self._styled(text or ("…" if self._unicode else "..."), committed)
        if not self._open and self._state:
            rows = self._styled(self._state, "")
        most = max(1, min(MAX_ROWS, size[1] - 1))
        if len(rows) > most:
            rows = rows[-most:]
        return rows or [""]

    def _styled(self, text: str, committed: str) -> list[str]:
        """Rows of `text`; what is not committed is dim."""
        text = self._printable(text)
        stays = len(self._printable(committed))
        rows = []
        for row in wrapped(text, self._size()[0] - INDENT - 1):
            firm, rest = text[row.start : min(row.end, stays)], text[max(row.start, stays) : row.end]
            rows.append(f"{firm}{DIM}{rest}{PLAIN}" if rest else firm)
        return rows

    def _bar(self, rms_dbfs: float, peak_dbfs: float) -> str:
        if peak_dbfs >= CLIPPING_DBFS:
            return "!"
        meter = METER if self._unicode else ASCII_METER
        share = 1.0 - rms_dbfs / METER_FLOOR_DBFS
        return meter[max(0, min(len(meter) - 1, round(share * (len(meter) - 1))))]

    def _printable(self, text: str) -> str:
        """Without what a terminal would obey, and in characters that it can be sent."""
        text = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
        encoding = self._stream.encoding or "ascii"
        return text if self._unicode else text.encode(encoding, "backslashreplace").decode(encoding)

    def _size(self) -> tuple[int, int]:
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns = lines = 0
        return max(INDENT + 3, columns or 80), lines or 24

    def _wipe(self) -> None:
        self._drawn = None
        self._write(CLEAR_BELOW)

    def _resumed(self, number: int, frame: object) -> None:
        """After Ctrl-Z and fg the shell has written over what was drawn."""
        self._drawn = None

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
