"""The runtime's interface without workers: each request plays a script chosen by a word in its prompt."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from agent.errors import (
    ContextOverflowError,
    EdgeAgentError,
    EngineError,
    ModelLoadError,
    ModelNotFoundError,
    QueueFullError,
    ShuttingDownError,
    WorkerCrashedError,
)
from agent.runtime.queue import Priority
from agent.runtime.snapshot import Counters, LedgerSnapshot, ModelSnapshot, QueueSnapshot, RuntimeSnapshot
from agent.runtime.stream import Stream
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.generation import Delta, Finished, Generate, TokenLogprob
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.transcription import Transcribe, Transcribed

WORDS = ("Hello", " wörld", ', "dear"', "\nfriend", " 🎉")
TEXT = "".join(WORDS)

Script = Callable[[Stream, Generate], Awaitable[None]]


async def talk(stream: Stream, request: Generate) -> None:
    """All choices say TEXT, word by word, as far as `max_tokens` lets them."""
    if request.echo and isinstance(request.prompt, str):
        for choice in range(request.n):
            stream.push(Delta(id=request.id, choice=choice, text=request.prompt))
    limit = len(WORDS) if request.max_tokens is None else min(len(WORDS), request.max_tokens)
    for word in WORDS[:limit]:
        for choice in range(request.n):
            piece = TokenLogprob(token=7, piece=word.encode(), logprob=-0.5, top=((7, word.encode(), -0.5),))
            logprobs = None if request.logprobs is None else (piece,)
            stream.push(Delta(id=request.id, choice=choice, text=word, tokens=1, logprobs=logprobs))
        await asyncio.sleep(0)
    for choice in range(request.n):
        finish(stream, request, choice, limit, "stop" if limit == len(WORDS) else "length")
    stream.finish()


def finish(stream: Stream, request: Generate, choice: int, tokens: int, reason: str) -> None:
    stream.push(
        Finished(
            id=request.id,
            choice=choice,
            reason=reason,  # type: ignore[arg-type]
            prompt_tokens=11,
            cached_tokens=3,
            completion_tokens=tokens,
            prefill_s=0.02,
            decode_s=0.1,
        )
    )


async def stay_silent(stream: Stream, request: Generate) -> None:
    """A prefill that never ends."""
    await asyncio.sleep(3600)


async def fail_at_once(stream: Stream, request: Generate) -> None:
    stream.fail(EngineError("The grammar cannot be parsed.", hint="Mend it."))


async def overflow_with_a_source(stream: Stream, request: Generate) -> None:
    """A context that has room for one source, and not for two."""
    if "[2] " in str(request.messages):
        stream.fail(ContextOverflowError("The prompt has 900 tokens; this model's context is 800 tokens."))
    else:
        await talk(stream, request)


async def fail_midway(stream: Stream, request: Generate) -> None:
    stream.push(Delta(id=request.id, text="Once", tokens=1))
    await asyncio.sleep(0.01)
    stream.fail(WorkerCrashedError("The worker died.", hint="Send it again."))


async def talk_forever(stream: Stream, request: Generate) -> None:
    while not stream.ended:
        stream.push(Delta(id=request.id, text="x" * 1000, tokens=1))
        await asyncio.sleep(0.0005)


async def talk_slowly(stream: Stream, request: Generate) -> None:
    for word in WORDS:
        stream.push(Delta(id=request.id, text=word, tokens=1))
        await asyncio.sleep(0.05)
    finish(stream, request, 0, len(WORDS), "stop")
    stream.finish()


SCRIPTS: dict[str, Script] = {
    "SILENT": stay_silent,
    "FAIL": fail_at_once,
    "ROOM FOR ONE": overflow_with_a_source,
    "CRASH": fail_midway,
    "FOREVER": talk_forever,
    "SLOWLY": talk_slowly,
}


Speech = Callable[[Transcribe], Awaitable[Transcribed]]


class ScriptedRuntime:
    """One model that generates, `org/tiny` (alias `tiny`), and one that embeds, `vectors` (8 dimensions).

    After `hear` there is also one that transcribes, `whisper`.
    """

    def __init__(self) -> None:
        self.requests: list[Generate | Embed | Transcribe] = []
        self.submissions: list[tuple[str, str, Priority, float | None]] = []
        self.dropped: list[float] = []
        self.capacity = 1000
        self.shortens: set[str] = set()
        self.prompts: tuple[str, ...] = ()
        self.version = "1"
        self.context_tokens = 0
        self.stopping = False
        self.loads: list[str] = []
        self.kept: list[str] = []
        self.refuses_version: str | None = None
        """Why the version that was chosen does not take over."""
        self.states = {"org/tiny": "ready", "vectors": "unloaded"}
        self._speech: Speech | None = None
        self._tasks: dict[Stream, asyncio.Task[None]] = {}

    def submit(
        self,
        model: str,
        request: Generate | Embed | Transcribe,
        *,
        client: str,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
    ) -> Stream:
        if self.stopping:
            raise ShuttingDownError("The daemon is shutting down.")
        if model not in self.states:
            raise ModelNotFoundError(f"There is no model {model}.", param="model")
        if len(self._tasks) >= self.capacity:
            raise QueueFullError("The queue is full.", retry_after_s=2.4, hint="Try again later.")
        self.requests.append(request)
        self.submissions.append((model, client, priority, deadline_s))
        stream = Stream(
            request,
            model=model,
            client=client,
            submitted_at=time.monotonic(),
            holder=self,
            limit_events=10_000,
            limit_bytes=64_000_000,
        )
        stream.begin(self, time.monotonic())
        task = self._tasks[stream] = asyncio.ensure_future(self._work(stream, request))
        task.add_done_callback(lambda _: self._tasks.pop(stream, None))
        return stream

    def hear(self, speech: Speech) -> None:
        """From now on `speech` answers what is to be transcribed; what it raises is the request's error."""
        self._speech = speech
        self.states["whisper"] = "ready"

    def drop(self, stream: Stream) -> None:
        self.dropped.append(time.monotonic())
        self._tasks[stream].cancel()

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def load(self, name: str) -> None:
        await asyncio.sleep(0.05)
        self.loads.append(name)
        self.states[name] = "ready"

    @contextmanager
    def keep(self, name: str) -> Iterator[None]:
        self.kept.append(name)
        try:
            yield
        finally:
            self.kept.remove(name)

    async def settled(self, name: str) -> None:
        if self.refuses_version is not None:
            raise ModelLoadError(self.refuses_version)

    async def unload(self, name: str) -> None:
        self.states[name] = "unloaded"

    def snapshot(self) -> RuntimeSnapshot:
        return RuntimeSnapshot(
            stopping=self.stopping,
            running=self.running,
            queue=QueueSnapshot(waiting=3, capacity=32, high=0, normal=2, low=1),
            ledger=LedgerSnapshot(
                budget_bytes=10**9, available_bytes=10**8, held_bytes=5, charged_bytes=7, accounts=()
            ),
            counters=Counters(),
            models=self.models(),
        )

    def models(self) -> tuple[ModelSnapshot, ...]:
        models = (self._model("org/tiny", "generate", ("tiny", "gpt-4o")), self._model("vectors", "embed", ()))
        return models if self._speech is None else (*models, self._model("whisper", "transcribe", ()))

    def _model(self, name: str, task: str, aliases: tuple[str, ...]) -> ModelSnapshot:
        return ModelSnapshot(
            name=name,
            version=self.version,
            task=task,
            created=5,
            aliases=aliases,
            pinned=False,
            keep_alive_s=300.0,
            state=self.states[name],
            reason="",
            slots=4,
            running=self.running,
            slots_used=self.running,
            waiting=0,
            crashes_in_a_row=0,
            crashes=2,
            pid=None,
            predicted=None,
            charged_bytes=1234,
            loaded=self._loaded() if self.context_tokens else None,
            stats=None,
            loaded_for_s=None,
            idle_for_s=None,
            retry_in_s=None,
            shortens=name in self.shortens,
            prompts=self.prompts if task == "embed" else (),
        )

    def _loaded(self) -> Loaded:
        return Loaded(
            memory=Memory(weights_bytes=1, kv_bytes=1, compute_bytes=1, overhead_bytes=1),
            context_tokens=self.context_tokens,
            train_context_tokens=self.context_tokens,
            slots=1,
            vocab_tokens=10,
            embedding_dim=0,
            has_chat_template=True,
            description="",
            load_s=0.1,
        )

    async def _work(self, stream: Stream, request: Generate | Embed | Transcribe) -> None:
        if isinstance(request, Embed):
            await self._embed(stream, request)
        elif isinstance(request, Generate):
            await self._script(request)(stream, request)
        elif self._speech is not None:
            try:
                stream.push(await self._speech(request))
            except EdgeAgentError as error:
                stream.fail(error)
            else:
                stream.finish()

    @staticmethod
    def _script(request: Generate) -> Script:
        said = f"{request.prompt}{request.messages}"
        return next((script for word, script in SCRIPTS.items() if word in said), talk)

    @staticmethod
    async def _embed(stream: Stream, request: Embed) -> None:
        rows = [struct.pack("<8f", 0.6, 0.8, *[0.0] * 5, float(index)) for index in range(len(request.inputs))]
        vectors = b"".join(rows)
        stream.push(Embedded(id=request.id, dim=8, vectors=vectors, prompt_tokens=4 * len(rows)))
        stream.finish()
