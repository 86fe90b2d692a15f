"""The child's end of the pipes to the daemon."""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
from typing import BinaryIO, Final

from agent.updates.fetch.meter import Meter
from agent.updates.fetch.wire import (
    HEADER,
    Allow,
    Answer,
    Ask,
    AskFailed,
    FromChild,
    Job,
    body_bytes,
    decode_to_child,
    encode,
)

ANSWERS: Final = 128
"""Blocks that wait to be taken; more are dropped, and asked for again. Twice as many as are ever on their way."""
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class Connection:
    """Ends the process when the daemon is gone: whatever it does then, nobody waits for it."""

    def __init__(self, meter: Meter) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        self._input: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._output = os.dup(1)
        os.dup2(2, 1)  # what libraries print is no frame
        self._meter = meter
        self._sending = threading.Lock()
        self._answers: queue.Queue[Answer | AskFailed] = queue.Queue(ANSWERS)

    def job(self) -> Job:
        """The first message. From then on a thread takes what comes."""
        message = self._receive()
        if not isinstance(message, Job):
            os._exit(2)
        threading.Thread(target=self._listen, name="daemon", daemon=True).start()
        return message

    def send(self, message: FromChild) -> None:
        frame = memoryview(encode(message))
        with self._sending:
            try:
                while frame:
                    frame = frame[os.write(self._output, frame) :]
            except OSError:
                os._exit(0)

    def ask(self, payload: bytes) -> None:
        self.send(Ask(payload))

    def next(self, timeout_s: float) -> Answer | AskFailed | None:
        try:
            return self._answers.get(timeout=max(timeout_s, 0.001))
        except queue.Empty:
            return None

    def _listen(self) -> None:
        while True:
            message = self._receive()
            if isinstance(message, Allow):
                self._meter.allow(message.limit_bytes, message.bytes_per_s)
            elif isinstance(message, Answer | AskFailed):
                try:
                    self._answers.put_nowait(message)
                except queue.Full:
                    continue

    def _receive(self) -> object:
        try:
            header = self._input.read(HEADER.size)
            body = self._input.read(body_bytes(header)) if len(header) == HEADER.size else b""
            if body:
                return decode_to_child(body)
        except (OSError, ValueError):
            pass
        os._exit(0)
