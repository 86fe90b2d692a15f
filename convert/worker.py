"""An artifact as a device runs it: in a worker process, spoken to as the daemon does."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from agent.errors import EngineError, ModelLoadError
from agent.runtime.wire.control import Shutdown
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.errors import Failed
from agent.runtime.wire.frames import FrameReader, decode_from_worker, encode
from agent.runtime.wire.generation import Delta, Finished
from agent.runtime.wire.loading import Loaded, LoadFailed, LoadModel, Predicted, Proceed
from agent.runtime.wire.messages import FromWorker, Request, ToWorker
from agent.runtime.wire.options import LlamaOptions, OnnxOptions, Options
from agent.runtime.wire.transcription import Transcribed
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
        return self.ask_all([request])[0]

    def ask_all(self, requests: Sequence[Request]) -> list[list[FromWorker]]:
        """All events of each, as many at once as the worker has slots. Raises `EngineError` where one fails."""
        events: list[list[FromWorker]] = [[] for _ in requests]
        waiting = list(enumerate(requests))[::-1]
        open_count = 0
        while waiting or open_count:
            while waiting and open_count < self.loaded.slots:
                number, request = waiting.pop()
                self._send(msgspec.structs.replace(request, id=number))
                open_count += 1
            for message in self._receive():
                if isinstance(message, Failed):
                    raise EngineError(message.error.message, hint=message.error.hint)
                if isinstance(message, Delta | Finished | Embedded | Transcribed):
                    events[message.id].append(message)
                    open_count -= not isinstance(message, Delta)
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

    def __enter__(self) -> Self:
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
