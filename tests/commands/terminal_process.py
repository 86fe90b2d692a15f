"""A command on a terminal of its own, with a size, and what that terminal shows."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.commands.screen import Screen
from tests.daemon_process import environment_for

PATIENCE_S = 20.0


class TerminalProcess:
    """`with TerminalProcess(folder, "transcribe", ..., columns=40) as terminal`."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 80, lines: int = 24) -> None:
        self._main, other = pty.openpty()
        self.resize(columns, lines)
        self.screen = Screen(columns)
        self.raw = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        extra = {"EDGE_AGENT_STATE_DIR": str(folder / "state"), "TERM": "xterm", "TZ": "UTC", "PYTHONUTF8": "1"}
        environment = environment_for(folder, extra)
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.cli", *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        os.close(other)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)

    def resize(self, columns: int, lines: int = 24) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def until(self, shown: Callable[[list[str]], bool] | str) -> list[str]:
        """Reads until a line of the screen has `shown` in it, or `shown(lines)`; returns the lines."""
        give_up = time.monotonic() + PATIENCE_S
        while not self._is_shown(shown):
            assert time.monotonic() < give_up, f"{shown!r} was not shown: {self.screen.lines}"
            self._read()
        return self.screen.lines

    def end(self) -> int:
        """Reads to the end; returns the exit status."""
        give_up = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < give_up, f"it does not end: {self.screen.lines}"
        return self.process.wait(PATIENCE_S)

    def _is_shown(self, shown: Callable[[list[str]], bool] | str) -> bool:
        lines = self.screen.lines
        return any(shown in line for line in lines) if isinstance(shown, str) else shown(lines)

    def _read(self) -> bool:
        if not select.select([self._main], [], [], 0.1)[0]:
            return True
        with contextlib.suppress(OSError):  # EIO: all that had it open are gone
            if data := os.read(self._main, 65536):
                text = self._decoder.decode(data)
                self.raw += text
                self.screen.feed(text)
                return True
        return False
