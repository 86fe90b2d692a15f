"""Lets one thread wait for a socket and for another thread's word at the same time."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Final

_READ: Final = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL
_WRITE: Final = select.POLLOUT | select.POLLHUP | select.POLLERR | select.POLLNVAL


class StoppedError(Exception):
    """The other side does not want this any more."""


class Waker:
    """`wake` and `stop` from any thread; the rest from the one that waits."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._awake = False
        self._closed = False
        self._closing = threading.Lock()
        self.stopped = False

    def wake(self) -> None:
        if self._awake:
            return
        with self._closing:
            if not self._closed:
                self._awake = True
                with contextlib.suppress(BlockingIOError):
                    os.write(self._write_fd, b"\0")

    def stop(self) -> None:
        self.stopped = True
        self.wake()

    def wait(self, fd: int | None, timeout_s: float, *, read: bool = True, write: bool = False) -> tuple[bool, bool]:
        """Until the socket can be read or written, a call of `wake`, or the time is over: (readable, writable)."""
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        if fd is not None and (read or write):
            poll.register(fd, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        ready = dict(poll.poll(max(0.0, timeout_s) * 1000))
        if self._read_fd in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_fd, 64)
            self._awake = False  # after the read: a call in between writes again
        events = ready.get(fd, 0) if fd is not None else 0
        return read and bool(events & _READ), write and bool(events & _WRITE)

    def need(self, fd: int, deadline: float, *, write: bool) -> None:
        """Until the socket is ready. Raises `TimeoutError` at `deadline` (monotonic), `StoppedError` when stopped."""
        while True:
            if self.stopped:
                raise StoppedError
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            if any(self.wait(fd, left_s, read=not write, write=write)):
                return

    def close(self) -> None:
        with self._closing:  # nobody may write to a number that is another file's by then
            if not self._closed:
                self._closed = True
                os.close(self._read_fd)
                os.close(self._write_fd)
