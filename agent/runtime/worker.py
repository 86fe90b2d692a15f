"""A worker process and the socket to it: start, send, receive, tell how it ended, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.runtime.channel import Channel, LogPipe
from agent.runtime.wire.control import Shutdown
from agent.runtime.wire.frames import encode
from agent.runtime.wire.generation import Delta
from agent.runtime.wire.messages import FromWorker, ToWorker

_log = logging.getLogger(__name__)

EOF_TO_KILL_S = 1.0
"""A process that closed its socket is on its way out; if it is not gone after this, it is killed."""
EXIT_TO_CLOSE_S = 0.3
"""After the exit, what is still in the pipes is read for this long at most (a grandchild may hold them open)."""
KILL_WAIT_S = 5.0
"""SIGKILL takes effect at once unless the process is stuck in the kernel."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a worker ended: a phrase such as `killed by SIGSEGV`, and its last lines of standard error."""

    reason: str
    returncode: int
    tail: tuple[str, ...] = ()


class WorkerGoneError(Exception):
    """The process has ended, and everything it had sent was received."""

    def __init__(self, exit: Exit) -> None:
        super().__init__(exit.reason)
        self.exit = exit


class Worker:
    """One child process. All methods belong to the event loop's thread."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.express: Callable[[Delta], object] | None = None
        """Gets new text in the tick in which it arrives, past `receive`, while nothing that came before waits there: to
        wake a task for each token is a good part of what a token costs."""
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._inbox: list[FromWorker] = []
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self._channel = Channel(self._received, self.wake, self._socket_closed)
        self._stderr = LogPipe(name, self._stderr_closed)
        self._transports: list[asyncio.BaseTransport] = []
        self._open_ends = 2
        self._condemned = ""
        self._returncode: int | None = None
        self._gone: asyncio.Future[Exit] = self._loop.create_future()

    @classmethod
    async def spawn(cls, command: Sequence[str], name: str, *, environment: Mapping[str, str] | None = None) -> Worker:
        """Start `command` with a socket's file descriptor as its last argument, in a session of its own.

        Raises `WorkerGoneError` if the process cannot be started at all.
        """
        ours, theirs = socket.socketpair()
        read_fd, write_fd = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 (a vfork and an exec: 2 ms)
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=write_fd,  # native libraries print there, too
                stderr=write_fd,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=None if environment is None else dict(environment),
            )
        except (OSError, ValueError) as error:
            ours.close()
            os.close(read_fd)
            raise WorkerGoneError(Exit(f"could not be started: {error}", -1)) from error
        finally:
            theirs.close()
            os.close(write_fd)
        worker = cls(name, process)
        worker._watch_exit()
        try:
            await worker._connect(ours, read_fd)
        except BaseException:
            await worker.kill("its socket could not be set up")
            raise
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._returncode is None

    @property
    def writable(self) -> bool:
        """False while the worker does not read what was sent to it."""
        return self._channel.writable

    def send(self, *messages: ToWorker) -> None:
        """Send one frame; lost without a sound if the worker is gone (`receive` tells)."""
        transport = self._channel.transport
        if transport is not None and not transport.is_closing():
            transport.write(encode(messages))

    async def receive(self) -> list[FromWorker]:
        """All messages that have arrived, in order; empty after `wake` or when writing became possible again.

        Raises `WorkerGoneError` once the process has ended and nothing is left to read.
        """
        while not self._inbox and not self._woken:
            if self._gone.done():
                raise WorkerGoneError(self._gone.result())
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._woken = False
        messages, self._inbox = self._inbox, []
        return messages

    def wake(self) -> None:
        """Let `receive` return."""
        self._woken = True
        self._wake()

    def condemn(self, reason: str) -> None:
        """SIGKILL, to the whole session; `reason` becomes the exit's. Does not wait."""
        if self.running:
            self._condemned = self._condemned or reason
            self._signal(signal.SIGKILL)

    async def kill(self, reason: str) -> Exit:
        """Kill, wait until nothing is left of the process, and say how it ended. Bounded; idempotent."""
        self.condemn(reason)
        if not await self._wait_gone(KILL_WAIT_S):
            _log.error("%s: worker %d does not die of SIGKILL; it is stuck in the kernel", self.name, self.pid)
            self._close_transports()
            return Exit("did not die of SIGKILL", -1, tuple(self._stderr.log.tail))
        return self._gone.result()

    async def shutdown(self, *, grace_s: float, terminate_s: float) -> Exit:
        """Ask to exit, then SIGTERM after `grace_s`, then SIGKILL after `terminate_s` more. Bounded; idempotent."""
        self.send(Shutdown())
        if not await self._wait_gone(grace_s):
            _log.warning("%s: worker %d did not exit within %.1f s of being asked to", self.name, self.pid, grace_s)
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped process takes a SIGTERM only when it is continued
            await self._wait_gone(terminate_s)
        return await self.kill("did not exit when asked to")

    async def _connect(self, ours: socket.socket, read_fd: int) -> None:
        stderr = os.fdopen(read_fd, "rb", buffering=0)
        try:
            ours.setblocking(False)
            transport, _ = await self._loop.create_unix_connection(lambda: self._channel, sock=ours)
            self._transports.append(transport)
        except BaseException:
            ours.close()
            stderr.close()
            self._open_ends = 0
            raise
        try:
            pipe, _ = await self._loop.connect_read_pipe(lambda: self._stderr, stderr)
            self._transports.append(pipe)
        except BaseException:
            stderr.close()
            self._open_ends -= 1
            raise

    def _received(self, messages: list[FromWorker]) -> None:
        passed = 0
        if self.express is not None and not self._inbox:
            for message in messages:
                if type(message) is not Delta:
                    break
                self.express(message)
                passed += 1
        if passed < len(messages):
            self._inbox += messages[passed:] if passed else messages
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _socket_closed(self, problem: str) -> None:
        self._open_ends -= 1
        if problem:
            self.condemn(problem)
        elif self.running:
            self._loop.call_later(EOF_TO_KILL_S, self.condemn, "closed its socket")
        self._settle()

    def _stderr_closed(self) -> None:
        self._open_ends -= 1
        self._settle()

    def _watch_exit(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # a kernel before 5.3, or a sandbox that forbids it
                pidfd = os.pidfd_open(self.pid)

                def on_exit() -> None:
                    self._loop.remove_reader(pidfd)
                    os.close(pidfd)
                    self._exited()

                self._loop.add_reader(pidfd, on_exit)
                return

        def wait() -> None:
            self._process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._exited)

        threading.Thread(target=wait, name=f"wait-{self.pid}", daemon=True).start()

    def _exited(self) -> None:
        self._signal(signal.SIGKILL)  # its descendants; until it is reaped below, nobody else can have its number
        self._returncode = self._process.wait()
        if self._open_ends:
            self._loop.call_later(EXIT_TO_CLOSE_S, self._close_transports)
        self._settle()

    def _close_transports(self) -> None:
        for transport in self._transports:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            else:
                transport.close()

    def _settle(self) -> None:
        if self._returncode is None or self._open_ends > 0 or self._gone.done():
            return
        reason = self._condemned or describe_exit(self._returncode)
        self._gone.set_result(Exit(reason, self._returncode, tuple(self._stderr.log.tail)))
        self._wake()

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._process.returncode is None:
            with contextlib.suppress(OSError):  # it has just ended, or is a zombie (EPERM on macOS)
                os.killpg(self.pid, number)

    async def _wait_gone(self, timeout_s: float) -> bool:
        await asyncio.wait([self._gone], timeout=timeout_s)
        return self._gone.done()


def describe_exit(returncode: int) -> str:
    """`exited with status 3`, `killed by SIGSEGV`; an unexplained SIGKILL is most often the kernel's OOM killer."""
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"killed by {name} (out of memory?)" if name == "SIGKILL" else f"killed by {name}"
