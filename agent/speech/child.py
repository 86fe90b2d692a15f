"""A process that does what may hang or crash: sound drivers, decoders. It can always be killed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

from agent.runtime.child_log import ChildLog

_log = logging.getLogger(__name__)

_SECRETS = frozenset({"EDGE_AGENT_API_KEY", "NOTIFY_SOCKET"})
_READ_BYTES = 64 * 1024
_LAST_WORDS_S = 1.0
"""For a killed child to end."""


class Child:
    """`async with Child(command) as child`: started on entering, killed and collected on leaving.

    Its standard input is empty, or `feeds`: bytes that are written to it, or an open file that it inherits.
    """

    def __init__(self, command: Sequence[str], *, feeds: bytes | IO[bytes] | None = None) -> None:
        self._command = command
        self._feeds = feeds
        self._log = ChildLog()
        self._tasks: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        feeds = self._feeds
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE if isinstance(feeds, bytes) else feeds or asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name not in _SECRETS},
            start_new_session=True,
        )
        self._tasks = [asyncio.create_task(self._read_errors(self._process), name="child:stderr")]
        if isinstance(feeds, bytes):
            self._tasks.append(asyncio.create_task(self._feed(self._process, feeds), name="child:stdin"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # `process.kill` may collect the status that asyncio waits for
        try:
            with contextlib.suppress(TimeoutError):  # what hangs in a driver dies when the driver lets it
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._drain(process)
                    await process.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if process.stdin is not None:
                process.stdin.close()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of its standard error."""
        return tuple(self._log.tail)

    async def read(self, timeout_s: float) -> bytes:
        """What it wrote; empty at the end. Raises `TimeoutError`."""
        output = self._running().stdout
        assert output is not None, "standard output is a pipe"
        async with asyncio.timeout(timeout_s):
            return await output.read(_READ_BYTES)

    async def ended(self, timeout_s: float = 1.0) -> str:
        """How it ended, after the end of its output: `exit status 1`, `killed by SIGKILL`, `closed its output`."""
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._running().wait()
        except TimeoutError:
            return "closed its output"
        if status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the process was not started")
        return self._process

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        """To the ends of its pipes. asyncio stops reading a full one, and before Python 3.12 `wait` waits for all."""
        assert process.stdout is not None, "standard output is a pipe"
        while await process.stdout.read(_READ_BYTES):
            pass
        await self._tasks[0]

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None, "standard error is a pipe"
        while data := await process.stderr.read(_READ_BYTES):
            for line in self._log.feed(data, time.monotonic()):
                _log.debug("%s: %s", self._command[-1], line)
        self._log.flush(time.monotonic())

    async def _feed(self, process: asyncio.subprocess.Process, data: bytes) -> None:
        assert process.stdin is not None, "standard input is a pipe"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(data), _READ_BYTES):
                process.stdin.write(data[start : start + _READ_BYTES])
                await process.stdin.drain()
            process.stdin.close()
            await process.stdin.wait_closed()
