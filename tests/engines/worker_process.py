"""A real worker process, driven over its socket as the daemon drives it."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.runtime.wire.control import Cancel, Ping, Pong, Shutdown
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.errors import Failed
from agent.runtime.wire.frames import FrameReader, decode_from_worker, encode
from agent.runtime.wire.generation import Delta, Finished, Generate, Sampling
from agent.runtime.wire.loading import Loaded, LoadFailed, LoadModel, Predicted, Proceed
from agent.runtime.wire.messages import FromWorker, ToWorker
from agent.runtime.wire.options import LlamaOptions, Options

GREEDY = Sampling(temperature=0)
REPO = Path(__file__).resolve().parents[2]


@dataclass
class Answer:
    """Everything that came for one request."""

    texts: dict[int, str] = field(default_factory=dict)
    deltas: list[Delta] = field(default_factory=list)
    finished: dict[int, Finished] = field(default_factory=dict)
    failed: Failed | None = None
    embedded: Embedded | None = None

    @property
    def text(self) -> str:
        return self.texts.get(0, "")


class WorkerProcess:
    """Use as a context manager. `submit` sends, `collect` waits until the given requests are complete."""

    def __init__(self, path: Path, options: Options | None = None, *, timeout_s: float = 120) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._socket.settimeout(timeout_s)
        self._reader = FrameReader()
        self._ids = itertools.count(1)
        self._backlog: list[FromWorker] = []
        self.answers: dict[int, Answer] = {}
        self._choices: dict[int, int] = {}
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.engines.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=REPO,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": str(REPO)},
        )
        theirs.close()
        self.options = options or LlamaOptions(context_tokens=512, slots=4)
        self.send(LoadModel(name="test", path=str(path), options=self.options))
        self.predicted = self.loaded = None
        self.load_failed: LoadFailed | None = None
        first = self.receive()
        if isinstance(first, LoadFailed):
            self.load_failed = first
            return
        assert isinstance(first, Predicted), first
        self.predicted = first.memory
        self.send(Proceed())
        second = self.receive()
        if isinstance(second, LoadFailed):
            self.load_failed = second
            return
        assert isinstance(second, Loaded), second
        self.loaded = second

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> int:
        with contextlib.suppress(OSError):
            self.send(Shutdown())
        self._socket.close()
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._stderr.close()
        return code

    def send(self, message: ToWorker) -> None:
        self._socket.sendall(encode([message]))

    def receive(self) -> FromWorker:
        while not self._backlog:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                status = self.process.wait()
                self._stderr.seek(0)
                stderr = self._stderr.read().decode()
                raise EOFError(f"the worker is gone ({status}):\n{stderr[-2000:]}")
            for body in self._reader.feed(data):
                self._backlog += decode_from_worker(body)
        return self._backlog.pop(0)

    def submit(self, **fields: object) -> int:
        """Send a `Generate` (greedy unless said otherwise). Returns its id."""
        fields.setdefault("sampling", GREEDY)
        request = Generate(id=next(self._ids), **fields)  # type: ignore[arg-type]
        self._open(request.id, request.n)
        self.send(request)
        return request.id

    def submit_embed(self, inputs: tuple[str | tuple[int, ...], ...], **fields: object) -> int:
        request = Embed(id=next(self._ids), inputs=inputs, **fields)  # type: ignore[arg-type]
        self._open(request.id, 1)
        self.send(request)
        return request.id

    def cancel(self, request_id: int) -> None:
        self.send(Cancel(request_id))

    def collect(self, *ids: int, until: Callable[[], bool] | None = None) -> list[Answer]:
        """Read until the requests are complete (or `until` is true). Returns their answers, in order."""
        while not (until() if until else all(self._complete(i) for i in ids)):
            self.step()
        return [self.answers[i] for i in ids]

    def generate(self, **fields: object) -> Answer:
        return self.collect(self.submit(**fields))[0]

    def ping(self) -> Pong:
        self.send(Ping(1))
        while True:
            pong = self.step()
            if isinstance(pong, Pong):
                return pong

    def step(self) -> FromWorker:
        message = self.receive()
        match message:
            case Delta():
                answer = self.answers[message.id]
                answer.deltas.append(message)
                answer.texts[message.choice] = answer.texts.get(message.choice, "") + message.text
            case Finished():
                self.answers[message.id].finished[message.choice] = message
            case Failed():
                self.answers[message.id].failed = message
            case Embedded():
                self.answers[message.id].embedded = message
        return message

    def _open(self, request_id: int, choices: int) -> None:
        self.answers[request_id] = Answer()
        self._choices[request_id] = choices

    def _complete(self, request_id: int) -> bool:
        answer = self.answers[request_id]
        return bool(answer.failed or answer.embedded) or len(answer.finished) == self._choices[request_id]
