"""The runtime as the microphone needs it: find a model, keep it loaded, ask it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from agent.runtime.queue import Priority
from agent.speech.passes import TranscribeCall
from agent.speech.transcriber import RuntimeTranscriber

if TYPE_CHECKING:
    from agent.runtime.service import Runtime

CLIENT = "microphone"
"""Who the queue is fair to."""
DEADLINE_S = 60.0
"""How long a pass waits for a worker: a live text that comes later helps nobody."""


class LiveEngine(Protocol):
    """What turns speech into text."""

    def find(self, model: str | None) -> str:
        """The real name of a model by name or alias; None: the only one that transcribes. Raises `RequestError`."""

    def keep(self, model: str) -> AbstractContextManager[None]:
        """While entered, the model is not unloaded for being idle, and comes back after a crash."""

    async def load(self, model: str) -> None:
        """Raises `EdgeAgentError` where it cannot be loaded."""

    def transcriber(self, model: str) -> TranscribeCall:
        """For passes of the live session."""


class RuntimeEngine:
    """`find` is the one that HTTP uses, so that a name means the same everywhere; `counted` keeps the books of a
    model's passes."""

    def __init__(
        self,
        runtime: Runtime,
        find: Callable[[str | None], str],
        counted: Callable[[str, TranscribeCall], TranscribeCall] = lambda model, call: call,
    ) -> None:
        self._runtime = runtime
        self._find = find
        self._counted = counted

    def find(self, model: str | None) -> str:
        return self._find(model)

    def keep(self, model: str) -> AbstractContextManager[None]:
        return self._runtime.keep(model)

    async def load(self, model: str) -> None:
        await self._runtime.load(model)

    def transcriber(self, model: str) -> TranscribeCall:
        call = RuntimeTranscriber(self._runtime, model, client=CLIENT, priority=Priority.HIGH, deadline_s=DEADLINE_S)
        return self._counted(model, call)
