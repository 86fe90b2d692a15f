"""The worker process: `python -m agent.engines.worker FD` speaks `agent.runtime.wire` on the socket FD.

Two threads. The main one runs the engine. The other reads the socket and prepares requests (template, tokenizer,
grammar), so that the engine is not held up by that, and it answers pings, so that a long step is not taken for a death.
When the daemon is gone, and the socket with it, the process ends at once.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

from agent.engines.llama.embedding import EmbeddingEngine
from agent.engines.llama.engine import Engine, failure
from agent.engines.llama.library import start_backend
from agent.engines.llama.model import AbortFlag, LlamaModel, predict
from agent.engines.llama.prompt import PromptMaker
from agent.engines.process import (
    die_with_parent,
    give_large_blocks_back,
    leave_no_core,
    offer_to_oom_killer,
    release_free_memory,
    resident_bytes,
)
from agent.errors import EdgeAgentError, EngineError, RequestError
from agent.runtime.wire import (
    Cancel,
    Embed,
    FrameReader,
    FromWorker,
    Generate,
    Loaded,
    LoadFailed,
    LoadModel,
    Ping,
    Pong,
    Predicted,
    Proceed,
    SetThreads,
    Shutdown,
    ToWorker,
    WireError,
    decode_to_worker,
    encode,
)

_RECEIVE_BYTES = 1 << 16


class Connection:
    """Blocking frames over the socket that the daemon left open for us."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._reader = FrameReader()
        self._lock = threading.Lock()
        self._ready: list[ToWorker] = []

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
        while not messages:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except OSError:
                data = b""
            if not data:
                os._exit(0)
            for body in self._reader.feed(data):
                messages += decode_to_worker(body)
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


class Worker:
    """A loaded model between its engine and the socket."""

    def __init__(self, connection: Connection, order: LoadModel) -> None:
        started = time.monotonic()
        options = order.options
        self._connection = connection
        self._gpu_bytes = 0
        path = Path(order.path)
        prediction = predict(path, options)
        connection.send([Predicted(prediction)])
        connection.receive_one(Proceed)
        abort = AbortFlag()
        self._model = LlamaModel(path, options, dry=False, abort=abort)
        kind = EmbeddingEngine if options.embedding else Engine
        self._engine: Engine | EmbeddingEngine = kind(self._model, options, connection.send, abort)
        self._engine.warm_up()
        facts, vocabulary = self._model.facts, self._model.vocabulary
        template = options.chat_template or facts.metadata.get("tokenizer.chat_template")
        self._prompts = PromptMaker(
            vocabulary, context_tokens=self._model.context_tokens, template_source=template or None
        )
        release_free_memory()
        measured = self._model.memory(
            overhead_bytes=prediction.overhead_bytes,
            prefix_cache_bytes=options.prefix_cache_bytes,
            resident=resident_bytes(),
        )
        self._gpu_bytes = measured.gpu_bytes
        connection.send(
            [
                Loaded(
                    memory=measured,
                    context_tokens=self._model.context_tokens,
                    train_context_tokens=facts.train_context_tokens,
                    slots=options.slots,
                    vocab_tokens=vocabulary.size,
                    embedding_dim=facts.embedding_dim if options.embedding else 0,
                    has_chat_template=template is not None,
                    description=facts.description,
                    load_s=time.monotonic() - started,
                )
            ]
        )

    def run(self) -> None:
        """Until the daemon says otherwise."""
        threading.Thread(target=self._listen, name="socket", daemon=True).start()
        self._engine.run()

    def _listen(self) -> None:
        try:
            while True:
                for message in self._connection.receive():
                    self._handle(message)
        except BaseException:
            # Nothing can reach this worker any more: end it, and the daemon starts another.
            sys.excepthook(*sys.exc_info())
            os._exit(1)

    def _handle(self, message: ToWorker) -> None:
        match message:
            case Generate() | Embed():
                self._submit(message)
            case Cancel():
                self._engine.cancel(message)
            case SetThreads():
                self._engine.set_threads(message)
            case Ping():
                self._connection.send([self._pong(message.seq)])
            case Shutdown():
                os._exit(0)
            case _:
                raise EngineError(f"unexpected {type(message).__name__} while serving")

    def _submit(self, request: Generate | Embed) -> None:
        try:
            match self._engine, request:
                case Engine() as engine, Generate():
                    engine.submit(self._prompts.job(request))
                case EmbeddingEngine() as engine, Embed():
                    engine.submit(request)
                case Engine(), _:
                    raise RequestError("This model generates text; it does not embed.", param="model")
                case _:
                    raise RequestError("This model embeds text; it does not generate.", param="model")
        except EdgeAgentError as error:
            self._connection.send([failure(request.id, error)])
        except (ValueError, RecursionError, OverflowError, TypeError) as error:
            wrong = RequestError(f"The request cannot be prepared: {error}.")
            self._connection.send([failure(request.id, wrong)])

    def _pong(self, seq: int) -> Pong:
        stats = self._engine.stats
        started = stats.step_started_at
        kv = self._engine.kv if isinstance(self._engine, Engine) else None
        return Pong(
            seq=seq,
            step_age_s=0.0 if started is None else time.monotonic() - started,
            resident_bytes=resident_bytes(),
            prefix_cache_bytes=kv.host.used_bytes if kv else 0,
            kv_used_tokens=kv.used_tokens if kv else 0,
            active_sequences=stats.active,
            waiting_sequences=stats.waiting,
            batch_tokens=stats.batch_tokens,
            threads=stats.threads,
            gpu_bytes=self._gpu_bytes,
        )


def main() -> None:
    """Load what the first message says, serve until told to stop."""
    # A ctypes call comes back only when it gets the interpreter lock: the default 5 ms wait for it is a decode step.
    sys.setswitchinterval(0.0005)
    die_with_parent()
    leave_no_core()
    give_large_blocks_back()
    offer_to_oom_killer()
    connection = Connection(int(sys.argv[1]))
    order = connection.receive_one(LoadModel)
    assert isinstance(order, LoadModel)
    try:
        start_backend()
        worker = Worker(connection, order)
    except (EdgeAgentError, OSError, ValueError) as error:
        code = error.code if isinstance(error, EdgeAgentError) else "model_load_failed"
        message = error.message if isinstance(error, EdgeAgentError) else f"{order.path} cannot be loaded: {error}."
        hint = error.hint if isinstance(error, EdgeAgentError) else ""
        connection.send([LoadFailed(WireError(code=code, message=message, hint=hint))])
        sys.stderr.flush()
        os._exit(0)
    try:
        worker.run()
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)  # without llama.cpp's destructors, which may be what failed


if __name__ == "__main__":
    main()
