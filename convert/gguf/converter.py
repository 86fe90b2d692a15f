"""Running llama.cpp's converter: a process of its own, whose output becomes progress, or the reason it failed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from agent.errors import ArtifactError, DiskFullError
from agent.store.probe_report import one_line
from convert.gguf.tools import Tools

OnBytes = Callable[[int, int], None]

_LINE_END: Final = re.compile(rb"[\r\n]")
_BAR: Final = re.compile(r"Writing:.*\|\s*([\d.]+)([kMGTP]?)/([\d.]+)([kMGTP]?) \[")
_UNIT: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_LOGGED: Final = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL):[\w.-]+:(.*)")
_RAISED: Final = re.compile(r"(?:[\w]+\.)*([A-Z]\w*(?:Error|Exception|Exit|Interrupt))(?:: (.*))?")
_TALKATIVE: Final = frozenset(
    {"ValueError", "RuntimeError", "NotImplementedError", "OSError", "Exception", "TypeError"}
)
"""Exceptions whose message says more than their name."""
_LINES_KEPT: Final = 200
_DISK_FULL: Final = re.compile(r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written")
"""The last is numpy's, when the system took a part of an array only."""

PLAINER: Final = (
    (
        re.compile(r"BPE pre-tokenizer was not recognized"),
        "this version of llama.cpp does not know its tokenizer",
    ),
    (
        re.compile(r"does not appear to have a file named (\S+\.py)"),
        r"its tokenizer needs the checkpoint's own program \1, which is not run unless --trust-remote-code says so",
    ),
    (
        re.compile(r"contains custom code"),
        "its tokenizer needs a program of the checkpoint's own, which the converter never runs for this architecture",
    ),
    (re.compile(r"Can ?not map tensor '?([^']*)'?"), r"config.json says nothing that the tensor \1 could belong to"),
)
"""What the converter says to its developers, and what it means to others."""


class ConverterLog:
    """What the converter prints, fed in pieces as they come."""

    def __init__(self, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes
        self._rest = b""
        self._lines: list[str] = []

    def feed(self, data: bytes) -> None:
        *whole, self._rest = _LINE_END.split(self._rest + data)
        for line in whole:
            self._take(line.decode("utf-8", "replace").rstrip())

    def close(self) -> None:
        """The last line may have no end."""
        self._take(self._rest.decode("utf-8", "replace").rstrip())
        self._rest = b""

    def _take(self, line: str) -> None:
        if match := _BAR.search(line):
            done, total = (float(match[i]) * _UNIT[match[i + 1]] for i in (1, 3))
            self._on_bytes(int(min(done, total)), int(total))
        elif line.strip():
            self._lines = [*self._lines[1 - _LINES_KEPT :], line]

    @property
    def disk_full(self) -> bool:
        return any(_DISK_FULL.search(line) for line in self._lines)

    def reason(self) -> str | None:
        """Why it failed, as a clause without a period: the last error it logged or raised; None if it said nothing."""
        for line in reversed(self._lines):
            if (logged := _LOGGED.fullmatch(line)) and logged[1] in ("ERROR", "CRITICAL"):
                return _plain(logged[2])
            if raised := _RAISED.fullmatch(line):
                name, message = raised[1], raised[2] or ""
                if name == "KeyError":
                    return _plain(f"{message} is missing from its configuration")
                return _plain(message if message and name in _TALKATIVE else f"{name} {message}")
        return None


def _plain(text: str) -> str:
    for pattern, meaning in PLAINER:
        if match := pattern.search(text):
            return one_line(match.expand(meaning), 300)
    return one_line(text, 300).rstrip(".")


def run_converter(
    tools: Tools,
    script: Path,
    arguments: Sequence[str | Path],
    *,
    what: str,
    scratch: Path,
    on_bytes: OnBytes,
    verbose: bool = False,
) -> None:
    """Run `script` with this Python. `what` is the source's name, for messages; `verbose` shows all it prints.

    `scratch` is the folder that the links to the source are in: a path of no use to anyone, so it is left out.

    The process ends with the block that waits for it: Ctrl-C is not sent to it but ends it. Raises `ArtifactError` with
    the reason it gives, `DiskFullError` where that is the disk.
    """
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=tools.environment(),
        start_new_session=True,
    )
    log = ConverterLog(on_bytes)
    try:
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 65536):
            log.feed(data)
            if verbose:
                sys.stderr.buffer.write(data)
                sys.stderr.flush()
        log.close()
        status = process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if status != 0:
        if log.disk_full:
            raise DiskFullError(f"The disk filled up while {what} was converted.", hint="Make room, or choose --out.")
        reason = (log.reason() or _ended(status)).replace(f"{scratch}/", "")
        raise ArtifactError(
            f"llama.cpp's converter refuses {what}: {reason}.",
            hint="" if verbose else "--verbose shows all that it says.",
        )


def _ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return "it was killed, as happens when memory runs out"
    if status < 0:
        return f"it ended by signal {-status}"
    return f"it ended with status {status}"
