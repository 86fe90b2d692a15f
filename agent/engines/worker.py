"""The worker process: `python -m agent.engines.worker FD` speaks `agent.runtime.wire` on the socket FD.

Two threads. The main one runs the engine. The other reads the socket and prepares requests (template, tokenizer,
grammar), so that the engine is not held up by that, and it answers pings, so that a long step is not taken for a death.
When the daemon is gone, and the socket with it, the process ends at once.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from agent.engines.connection import Connection
from agent.engines.process import die_with_parent, keep_numpy_to_one_thread, leave_no_core, offer_to_oom_killer
from agent.engines.service import Service, failure
from agent.errors import EdgeAgentError, EngineError, RequestError
from agent.runtime.wire.control import Cancel, Ping, SetPace, SetThreads, Shutdown
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.errors import WireError
from agent.runtime.wire.generation import Generate
from agent.runtime.wire.loading import LoadFailed, LoadModel, Predicted, Proceed
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.messages import Request, ToWorker
from agent.runtime.wire.options import LlamaOptions
from agent.runtime.wire.transcription import Transcribe


def load(connection: Connection, order: LoadModel) -> Service:
    """Say what it will take, wait for the word, and take it. Raises what the engine raises."""
    path, options = Path(order.path), order.options
    if isinstance(options, LlamaOptions):
        from agent.engines.llama.service import LlamaService, predict  # each worker pays for its own engine alone

        predicted = predict(path, options)
        _await_room(connection, predicted)
        return LlamaService(path, options, predicted, connection.send)
    if options.transcribe:
        from agent.engines.onnx.whisper_service import WhisperService
        from agent.engines.onnx.whisper_service import predict as predict_whisper

        predicted = predict_whisper(path, options)
        _await_room(connection, predicted)
        return WhisperService(
            path,
            options,
            predicted,
            connection.send,
            floor_s=options.window_floor_s,
            margin_s=options.window_margin_s,
        )
    from agent.engines.onnx.embedding_service import EmbeddingService
    from agent.engines.onnx.embedding_service import predict as predict_embedding

    predicted = predict_embedding(path, options)
    _await_room(connection, predicted)
    return EmbeddingService(path, options, predicted, connection.send)


def _await_room(connection: Connection, predicted: Memory) -> None:
    connection.send([Predicted(predicted)])
    connection.receive_one(Proceed)


class Worker:
    """A loaded model between its engine and the socket."""

    def __init__(self, connection: Connection, service: Service) -> None:
        self._connection = connection
        self._service = service

    def run(self) -> None:
        """Until the daemon says otherwise."""
        self._connection.send([self._service.loaded])
        threading.Thread(target=self._listen, name="socket", daemon=True).start()
        self._service.run()

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
            case Generate() | Embed() | Transcribe():
                self._submit(message)
            case Cancel():
                self._service.cancel(message)
            case SetThreads():
                self._service.set_threads(message)
            case SetPace():
                self._service.set_pace(message)
            case Ping():
                self._connection.send([self._service.pong(message.seq)])
            case Shutdown():
                os._exit(0)
            case _:
                raise EngineError(f"unexpected {type(message).__name__} while serving")

    def _submit(self, request: Request) -> None:
        try:
            self._service.submit(request, self._connection.came_s)
        except EdgeAgentError as error:
            self._connection.send([failure(request.id, error)])
        except (ValueError, RecursionError, OverflowError, TypeError) as error:
            wrong = RequestError(f"The request cannot be prepared: {error}.")
            self._connection.send([failure(request.id, wrong)])


def main() -> None:
    """Load what the first message says, serve until told to stop."""
    # A ctypes call comes back only when it gets the interpreter lock: the default 5 ms wait for it is a decode step.
    sys.setswitchinterval(0.0005)
    keep_numpy_to_one_thread()
    die_with_parent()
    leave_no_core()
    offer_to_oom_killer()
    connection = Connection(int(sys.argv[1]))
    order = connection.receive_one(LoadModel)
    assert isinstance(order, LoadModel)
    try:
        worker = Worker(connection, load(connection, order))
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
        os._exit(1)  # without the engine's destructors, which may be what failed


if __name__ == "__main__":
    main()
