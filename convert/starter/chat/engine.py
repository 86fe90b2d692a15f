"""The model as a user runs it: llama.cpp in a worker process, spoken to as the daemon does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from agent.errors import EngineError, ModelLoadError
from agent.runtime.wire import (
    Delta,
    Failed,
    Finished,
    FrameReader,
    FromWorker,
    Generate,
    LlamaOptions,
    Loaded,
    LoadFailed,
    LoadModel,
    Predicted,
    Proceed,
    Sampling,
    Shutdown,
    ToWorker,
    decode_from_worker,
    encode,
)

_RECEIVE_BYTES: Final = 1 << 16
_ANSWER_TOKENS: Final = 96
GREEDY: Final = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Ask:
    """`messages` as the HTTP API hands them on; `schema` None for an answer in words, `{}` for any JSON object."""

    messages: tuple[dict[str, Any], ...]
    schema: dict[str, Any] | None = None
    sampling: Sampling = GREEDY


class Worker:
    """A worker with `path` loaded. A context manager. Raises `ModelLoadError`."""

    def __init__(self, path: Path, *, slots: int = 8, context_tokens: int = 512) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._reader = FrameReader()
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            command = [sys.executable, "-m", "agent.engines.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL)
        self._slots = slots
        try:
            self.loaded = self._load(path, LlamaOptions(context_tokens=context_tokens * slots, slots=slots))
        except BaseException:
            self.close()
            raise

    def answers(self, asks: Sequence[Ask]) -> list[str]:
        """One answer to each, as the worker's slots allow at once. Raises `EngineError` for one that fails."""
        texts = [""] * len(asks)
        waiting = list(enumerate(asks))[::-1]
        open_count = 0
        while waiting or open_count:
            while waiting and open_count < self._slots:
                number, ask = waiting.pop()
                self._send(_generate(number, ask))
                open_count += 1
            for message in self._receive():
                match message:
                    case Delta():
                        texts[message.id] += message.text
                    case Finished():
                        open_count -= 1
                    case Failed():
                        raise EngineError(message.error.message)
        return texts

    def _load(self, path: Path, options: LlamaOptions) -> Loaded:
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
        self._socket.sendall(encode([message]))

    def _receive(self) -> list[FromWorker]:
        messages: list[FromWorker] = []
        while not messages:
            data = self._socket.recv(_RECEIVE_BYTES)
            if not data:
                raise EngineError("The worker died.")
            for body in self._reader.feed(data):
                messages += decode_from_worker(body)
        return messages

    def close(self) -> None:
        try:
            self._send(Shutdown())
        except OSError:
            self._process.kill()
        self._process.wait()
        self._socket.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _generate(number: int, ask: Ask) -> Generate:
    return Generate(
        id=number, messages=ask.messages, json_schema=ask.schema, sampling=ask.sampling, max_tokens=_ANSWER_TOKENS
    )
