"""An artifact as a device runs it: in a worker process, asked one question at a time."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from agent.errors import EngineError, ModelLoadError
from agent.runtime.wire import (
    Delta,
    Embedded,
    Failed,
    Finished,
    FrameReader,
    FromWorker,
    LlamaOptions,
    Loaded,
    LoadFailed,
    LoadModel,
    OnnxOptions,
    Options,
    Predicted,
    Proceed,
    Request,
    Shutdown,
    ToWorker,
    Transcribed,
    decode_from_worker,
    encode,
)
from agent.store.manifest import Manifest

CONTEXT_TOKENS: Final = 2048
_RECEIVE_BYTES: Final = 1 << 16
_END_WAIT_S: Final = 10.0


def options_of(manifest: Manifest, threads: int) -> Options:
    """How the artifact is run here: nothing that changes its answers."""
    if manifest.format == "gguf":
        return LlamaOptions(
            context_tokens=min(CONTEXT_TOKENS, manifest.context or CONTEXT_TOKENS),
            slots=1,
            threads=threads,
            threads_batch=threads,
            embedding=manifest.task == "embed",
        )
    return OnnxOptions(threads=threads, transcribe=manifest.task == "transcribe")


class Worker:
    """A context manager. Raises `ModelLoadError` for what cannot be loaded, `EngineError` for a worker that dies."""

    def __init__(self, path: Path, options: Options) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._reader = FrameReader()
        self._ids = itertools.count(1)
        with theirs:
            command = [sys.executable, "-m", "agent.engines.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # llama.cpp says much while it loads
            )
        try:
            self.loaded = self._load(path, options)
        except BaseException:
            self.close()
            raise

    def ask(self, request: Request) -> list[FromWorker]:
        """All events of one request. Raises `EngineError` where it fails."""
        request = msgspec.structs.replace(request, id=next(self._ids))
        self._send(request)
        events: list[FromWorker] = []
        while True:
            for message in self._receive():
                if isinstance(message, Failed):
                    raise EngineError(message.error.message, hint=message.error.hint)
                events.append(message)
                if isinstance(message, Finished | Embedded | Transcribed):
                    return events

    def _load(self, path: Path, options: Options) -> Loaded:
        self._send(LoadModel(name=path.stem, path=str(path.absolute()), options=options))
        while True:
            for message in self._receive():
                match message:
                    case Predicted():
                        self._send(Proceed())
                    case Loaded():
                        return message
                    case LoadFailed():
                        raise ModelLoadError(message.error.message, hint=message.error.hint)

    def _send(self, message: ToWorker) -> None:
        try:
            self._socket.sendall(encode([message]))
        except OSError:
            raise EngineError("The worker died.") from None

    def _receive(self) -> list[FromWorker]:
        messages: list[FromWorker] = []
        while not messages:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                raise EngineError("The worker died.")
            for body in self._reader.feed(data):
                messages += decode_from_worker(body)
        return messages

    def close(self) -> None:
        """Ends the worker, whatever it does. Idempotent."""
        try:
            self._socket.sendall(encode([Shutdown()]))
        except OSError:
            self._process.kill()
        self._socket.close()
        try:
            self._process.wait(_END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def text_of(events: list[FromWorker]) -> str:
    """What was generated, or what was said."""
    parts = [event.text for event in events if isinstance(event, Delta)]
    parts += [segment.text for event in events if isinstance(event, Transcribed) for segment in event.segments]
    return "".join(parts)
