"""The daemon's ends of a worker's socket and of the pipe that carries its output, as asyncio protocols."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable

import msgspec

from agent.runtime.child_log import ChildLog
from agent.runtime.wire.frames import FrameReader, decode_from_worker
from agent.runtime.wire.messages import FromWorker

_log = logging.getLogger(__name__)

READ_BYTES = 256 * 1024


class Channel(asyncio.Protocol):
    """The daemon's end of the socket."""

    def __init__(
        self,
        received: Callable[[list[FromWorker]], None],
        resumed: Callable[[], None],
        closed: Callable[[str], None],
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self.writable = True
        self._received = received
        self._resumed = resumed
        self._closed = closed
        self._frames = FrameReader()
        self._problem = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        frames = self._frames.feed(data)
        while True:
            try:
                messages = decode_from_worker(next(frames))
            except StopIteration:
                return
            except (ValueError, msgspec.MsgspecError) as error:
                self._problem = f"sent a frame that is none: {error}"
                if self.transport is not None:
                    self.transport.abort()
                return
            self._received(messages)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            self._read_rest()
        self._closed(self._problem)

    def _read_rest(self) -> None:
        """A write that meets a dead worker ends the transport at once, and the last events still lie in the socket."""
        assert self.transport is not None
        fd = self.transport.get_extra_info("socket").fileno()  # closed only after `connection_lost`
        with contextlib.suppress(OSError):
            while data := os.read(fd, READ_BYTES):
                self.data_received(data)


class LogPipe(asyncio.Protocol):
    """The daemon's end of the pipe that carries the worker's standard error and output."""

    def __init__(self, name: str, closed: Callable[[], None]) -> None:
        self.log = ChildLog()
        self._name = name
        self._closed = closed

    def data_received(self, data: bytes) -> None:
        self._emit(self.log.feed(data, time.monotonic()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._emit(self.log.flush(time.monotonic()))
        self._closed()

    def _emit(self, lines: list[str]) -> None:
        for line in lines:
            _log.info("%s: %s", self._name, line, extra={"fields": {"model": self._name}})
