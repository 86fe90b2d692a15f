"""The worker's end of the socket to the daemon."""

from __future__ import annotations

import os
import socket
import threading
import time

from agent.engines.process import resident_bytes, wanted_s
from agent.errors import EngineError
from agent.runtime.wire.control import Ping, Pong, Shutdown
from agent.runtime.wire.frames import FrameReader, decode_to_worker, encode
from agent.runtime.wire.messages import FromWorker, ToWorker

_RECEIVE_BYTES = 1 << 16


class Connection:
    """Blocking frames over the socket that the daemon left open for us."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._reader = FrameReader()
        self._lock = threading.Lock()
        self._ready: list[ToWorker] = []
        self.came_s = 0.0
        """When the last messages came, by the machine's monotonic clock: what was waited for them lies before it, and
        what it took to read them after."""

    def send(self, messages: list[FromWorker]) -> None:
        """One frame. Ends the process when the daemon is gone."""
        frame = encode(messages)
        with self._lock:
            try:
                self._socket.sendall(frame)
            except OSError:
                os._exit(0)

    def receive(self) -> list[ToWorker]:
        """Whatever has come, at least one message. Ends the process when the daemon is gone."""
        messages, self._ready = self._ready, []
        before_s = wanted_s()
        while not messages:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError:
                data = b""
            if not data:
                os._exit(0)
            for body in self._reader.feed(data):
                messages += decode_to_worker(body)
        self.came_s = time.monotonic() - (wanted_s() - before_s)
        return messages

    def receive_one(self, kind: type[ToWorker]) -> ToWorker:
        """The next message, which must be a `kind`; `Shutdown` ends the process."""
        if not self._ready:
            self._ready = self.receive()
        message = self._ready.pop(0)
        if isinstance(message, Shutdown):
            os._exit(0)
        if isinstance(message, Ping):
            self.send(
                [
                    Pong(
                        seq=message.seq,
                        step_age_s=0,
                        resident_bytes=resident_bytes(),
                        prefix_cache_bytes=0,
                        kv_used_tokens=0,
                        active_sequences=0,
                        waiting_sequences=0,
                        batch_tokens=0,
                        threads=0,
                    )
                ]
            )
            return self.receive_one(kind)
        if not isinstance(message, kind):
            raise EngineError(f"expected {kind.__name__}, got {type(message).__name__}")
        return message
