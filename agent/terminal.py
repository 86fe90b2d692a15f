"""What commands put on a terminal, or into a file: tables, sizes, a progress bar, text from models."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_REDRAW_S = 0.1
_LINE_EVERY = 0.1
"""Share of the work after which a plain line is due, where there is no terminal."""


def table(rows: Sequence[Sequence[str]], heads: Sequence[str], *, right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell; those in `right` (counted from 0) are aligned to the right."""
    cells = [list(heads), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def size(number: float) -> str:
    """Bytes for people: `1.9 GB`, `512 MB` (powers of ten, as disks and downloads are sold)."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= limit:
            value = number / limit
            return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{number:.0f} B"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `5 d 2 h`."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def print_json(value: Any) -> None:
    """For scripts: one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def write_text(text: str, stream: TextIO | None = None) -> None:
    """A piece of model output, at once. On a terminal its control characters are shown, not obeyed."""
    stream = stream or sys.stdout
    if stream.isatty():
        text = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
    stream.write(text)
    stream.flush()


def use_utf8() -> None:
    """Never fail on a character that the locale does not have, in either direction."""
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace" if stream is sys.stdin else "backslashreplace")


class Progress:
    """A bar on a terminal, a few plain lines elsewhere.

    `with Progress("copying") as progress: progress(done_bytes, total_bytes)`. With a `unit` ("passages") it counts
    these instead of bytes.
    """

    def __init__(self, label: str, stream: TextIO | None = None, *, unit: str = "") -> None:
        self._label = label
        self._unit = unit
        self._stream = stream or sys.stderr
        self._bar = self._stream.isatty()
        self._started = time.monotonic()
        self._drawn_at = 0.0
        self._drawn_share = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar and self._drawn_at:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        now, share = time.monotonic(), done_bytes / total_bytes if total_bytes else 1.0
        if self._bar:
            if now - self._drawn_at >= _REDRAW_S or share >= 1:
                self._drawn_at = now
                self._draw(done_bytes, total_bytes, share, now - self._started)
        elif share - self._drawn_share >= _LINE_EVERY and now - self._started >= 1:
            self._drawn_share = share
            print(f"{self._label}: {share:.0%} of {self._amount(total_bytes)}", file=self._stream, flush=True)

    def _amount(self, number: float) -> str:
        return f"{number:,.0f} {self._unit}" if self._unit else size(number)

    def _draw(self, done_bytes: int, total_bytes: int, share: float, elapsed_s: float) -> None:
        rate = done_bytes / elapsed_s if elapsed_s > 0 else 0.0
        left = f", {duration((total_bytes - done_bytes) / rate)} left" if rate and elapsed_s > 1 else ""
        done = f"{done_bytes:,}" if self._unit else size(done_bytes)
        tail = f" {share:4.0%} {done} of {self._amount(total_bytes)}, {self._amount(rate)}/s{left}"
        width = max(5, min(40, shutil.get_terminal_size().columns - len(self._label) - len(tail) - 4))
        filled = int(share * width)
        self._stream.write(f"\r\x1b[K{self._label} [{'=' * filled}{' ' * (width - filled)}]{tail}")
        self._stream.flush()
