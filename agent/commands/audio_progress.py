"""How far a file is: seconds of sound, and the real-time factor."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from agent.commands.columns import cut, width_of
from agent.terminal import duration

_REDRAW_S = 0.1
_LINE_EVERY = 0.1
"""Share of a file after which a plain line is due, where there is no terminal."""
_LINE_EVERY_S = 60.0
"""Seconds of sound after which one is due, where the length is not known."""
_QUICK_S = 2.0
_BAR = (3, 40)


class AudioProgress:
    """A bar on a terminal, a few plain lines elsewhere; never wider than the terminal.

    The real-time factor is the time that was taken, divided by the sound that was done: below 1 is faster than speech.
    """

    def __init__(
        self, label: str, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label = label
        self._stream = stream or sys.stderr
        self._bar = self._stream.isatty()
        self._clock = clock
        self._started = clock()
        self._drawn_at: float | None = None
        self._told_s = 0.0

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._started

    def show(self, done_s: float, total_s: float | None) -> None:
        """`total_s` None: nobody knows."""
        if not self._bar:
            self._tell(done_s, total_s)
        elif self._drawn_at is None or self._clock() - self._drawn_at >= _REDRAW_S:
            self._drawn_at = self._clock()
            self._stream.write(f"\r\x1b[K{self._drawn(done_s, total_s, self._columns() - 1)}")
            self._stream.flush()

    def wipe(self) -> None:
        """Takes the bar away, so that something else can be written; the next `show` draws it again."""
        if self._drawn_at is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn_at = None

    def _tell(self, done_s: float, total_s: float | None) -> None:
        due_s = total_s * _LINE_EVERY if total_s else _LINE_EVERY_S
        if done_s - self._told_s >= due_s and self.elapsed_s >= _QUICK_S:
            self._told_s = done_s
            print(f"{self._label}: {self._amount(done_s, total_s)}", file=self._stream, flush=True)

    def _amount(self, done_s: float, total_s: float | None) -> str:
        of = f" of {clock_time(total_s)}" if total_s else ""
        factor = f", real-time factor {self.elapsed_s / done_s:.2f}" if done_s else ""
        return f"{clock_time(done_s)}{of}{factor}"

    def _columns(self) -> int:
        """Of the terminal that the bar is on: standard output may be another one, or a file."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return columns or shutil.get_terminal_size().columns

    def _drawn(self, done_s: float, total_s: float | None, width: int) -> str:
        """The widest form that fits; the name of the file gives way last."""
        amount = self._amount(done_s, total_s) if done_s else "waiting for the model"
        left = ""
        if total_s and done_s and self.elapsed_s > 1:
            left = f", {duration((total_s - done_s) * self.elapsed_s / done_s)} left"
        short = amount.replace(", real-time factor ", ", RTF ")
        for text in (amount + left, amount, short, clock_time(done_s)):
            room = width - width_of(self._label) - width_of(text) - 4
            if total_s and room >= _BAR[0]:
                length = min(_BAR[1], room)
                filled = int(min(1.0, done_s / total_s) * length)
                return f"{self._label} [{'=' * filled}{' ' * (length - filled)}] {text}"
            if room >= -3 and (not total_s or len(text) <= len(short)):
                return f"{self._label} {text}"
        room = width - width_of(short) - 1
        return f"{cut(self._label, room)} {short}" if room >= 6 else cut(self._label, width)


def clock_time(seconds: float) -> str:
    """`0:07`, `3:04`, `1:02:03`."""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
