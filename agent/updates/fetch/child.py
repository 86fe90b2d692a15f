"""A child process as the daemon sees it: started for one job, and gone after it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from agent.errors import EdgeAgentError, UpdateError, by_code
from agent.runtime.child_log import ChildLog
from agent.runtime.niceness import step_behind
from agent.updates.fetch.wire import HEADER, Failed, FromChild, Job, ToChild, body_bytes, decode_from_child, encode

COMMAND: Final = (sys.executable, "-m", "agent.updates.fetch")
BACKLOG_BYTES: Final = 4 * 1024 * 1024
"""Blocks that the child has not taken; more are dropped, and it asks for them again."""
GRACE_S: Final = 0.5
"""A child whose input has ended is gone by then, unless it is stuck."""
_SECRETS: Final = frozenset({"EDGE_AGENT_API_KEY", "NOTIFY_SOCKET"})
_ROOT: Final = Path(__file__).resolve().parents[3]

_log = logging.getLogger(__name__)


class Child:
    """`async with Child(job) as child: async for message in child.messages()`."""

    def __init__(self, job: Job, command: Sequence[str] = COMMAND) -> None:
        self._job = job
        self._command = command
        self._log = ChildLog()

    async def __aenter__(self) -> Child:
        environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        # One thread: the arithmetic library of numpy would keep memory for each of more.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), environment.get("PYTHONPATH"))))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UpdateError(f"The process that fetches could not be started: {error}.", retry=True) from error
        step_behind(self.pid)  # it does so too, once it has loaded its libraries
        self._logging = asyncio.create_task(self._follow_log(), name="updates:child-log")
        self.send(self._job)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # it ends at once
        try:
            async with asyncio.timeout(GRACE_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # `Popen.kill` would take its end away from who waits for it
            await self._process.wait()
        await asyncio.wait([self._logging], timeout=1.0)
        self._logging.cancel()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: ToChild, *, droppable: bool = False) -> None:
        """Does not wait. What is `droppable` is dropped when the child does not keep up."""
        stream = self._process.stdin
        assert stream is not None
        if stream.is_closing() or (droppable and stream.transport.get_write_buffer_size() > BACKLOG_BYTES):
            return
        stream.write(encode(message))

    async def messages(self) -> AsyncIterator[FromChild]:
        """What the child says, until it ends. Raises the `EdgeAgentError` that it failed with, and `UpdateError` for
        one that died."""
        stream = self._process.stdout
        assert stream is not None
        while True:
            try:
                message = decode_from_child(await stream.readexactly(body_bytes(await stream.readexactly(HEADER.size))))
            except (asyncio.IncompleteReadError, OSError):
                raise await self._died() from None
            except ValueError as error:
                raise UpdateError(f"The process that fetches speaks nonsense: {error}.", retry=True) from error
            if isinstance(message, Failed):
                raise _error(message)
            yield message

    async def _died(self) -> UpdateError:
        status = await self._process.wait()
        await asyncio.wait([self._logging], timeout=1.0)
        last = f": {self._log.tail[-1]}" if self._log.tail else ""
        return UpdateError(f"The process that fetches ended with status {status}{last}.", retry=True)

    async def _follow_log(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while data := await stream.read(65_536):
            for line in self._log.feed(data, time.monotonic()):
                _log.info("fetch: %s", line)
        for line in self._log.flush(time.monotonic()):
            _log.info("fetch: %s", line)


def _error(failed: Failed) -> EdgeAgentError:
    kind = by_code(failed.code)
    if issubclass(kind, UpdateError):
        return kind(failed.message, retry=failed.retry, hint=failed.hint, param=failed.param)
    return kind(failed.message, hint=failed.hint, param=failed.param)
