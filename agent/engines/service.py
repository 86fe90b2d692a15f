"""What a worker serves its model with: one class per engine, the same outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.errors import EdgeAgentError
from agent.runtime.wire.control import Cancel, Pong, SetPace, SetThreads
from agent.runtime.wire.errors import Failed, WireError
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.messages import Request


@dataclass
class Stats:
    """Read by the I/O thread; each field is written whole by the engine thread."""

    step_started_at: float | None = None
    active: int = 0
    waiting: int = 0
    batch_tokens: int = 0
    threads: int = 0


class Service(Protocol):
    """A loaded model. `run` is called by the main thread, the others by the one that reads the socket."""

    loaded: Loaded

    def run(self) -> None:
        """Serve until the process ends. Raises `EngineError` when the engine fails for good."""

    def submit(self, request: Request, came_s: float, /) -> None:
        """`came_s` is that of `Connection`. Raises `EdgeAgentError`, or what a hostile request makes the preparation
        raise."""

    def cancel(self, order: Cancel) -> None: ...

    def set_threads(self, order: SetThreads) -> None: ...

    def set_pace(self, order: SetPace) -> None: ...

    def pong(self, seq: int) -> Pong: ...


def failure(request_id: int, error: EdgeAgentError) -> Failed:
    """`error` as the message that ends a request."""
    return Failed(
        id=request_id,
        error=WireError(code=error.code, message=error.message, hint=error.hint, param=error.param),
    )
