"""One Whisper worker, spoken to over its socket as the daemon does it: one request at a time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from agent.runtime.wire.control import Shutdown
from agent.runtime.wire.frames import FrameReader, decode_from_worker, encode
from agent.runtime.wire.loading import Loaded, LoadModel, Predicted, Proceed
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.messages import FromWorker, ToWorker
from agent.runtime.wire.options import OnnxOptions
from agent.runtime.wire.transcription import Transcribe, Transcribed

COMMAND = [sys.executable, "-m", "agent.engines.worker"]
ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T", bound=FromWorker)


class WhisperWorker:
    """Loaded on construction. Raises `RuntimeError` where the worker says anything but what is expected."""

    def __init__(self, artifact: Path, *, threads: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self._socket = ours
        self._reader = FrameReader()
        self._arrived: list[FromWorker] = []
        self._id = 0
        self._send(
            LoadModel(
                name="bench",
                path=str(artifact),
                options=OnnxOptions(transcribe=True, slots=1, threads=threads, arena=True),
            )
        )
        self.predicted: Memory = self._receive(Predicted).memory
        self._send(Proceed())
        self.loaded = self._receive(Loaded)

    def __enter__(self) -> WhisperWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._send(Shutdown())
        self._socket.close()
        self._process.wait(timeout=10)

    def transcribe(self, audio: bytes, **options: Any) -> tuple[Transcribed, float]:
        """The answer, and the seconds it took from the request on."""
        self._id += 1
        started = time.perf_counter()
        self._send(Transcribe(id=self._id, audio=audio, **options))
        return self._receive(Transcribed), time.perf_counter() - started

    @property
    def peak_bytes(self) -> int:
        """The most that was ever resident (Linux)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def _send(self, message: ToWorker) -> None:
        self._socket.sendall(encode([message]))

    def _receive(self, kind: type[T]) -> T:
        while not self._arrived:
            data = self._socket.recv(1 << 16)
            if not data:
                raise RuntimeError("the worker is gone")
            for body in self._reader.feed(data):
                self._arrived += decode_from_worker(body)
        message = self._arrived.pop(0)
        if not isinstance(message, kind):
            raise RuntimeError(f"expected {kind.__name__}, got {message}")
        return message
