"""A request on its way through the runtime: submitted, counted, timed, and cancelled when nobody listens any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web

from agent.api.access import Record, record_of
from agent.api.metrics import ModelMetrics
from agent.api.parts import METRICS, RUNTIME
from agent.errors import EdgeAgentError, UnavailableError
from agent.runtime.queue import Priority
from agent.runtime.stream import Stream
from agent.runtime.wire.embedding import Embedded
from agent.runtime.wire.generation import Delta, Finished
from agent.runtime.wire.messages import Event, Request
from agent.runtime.wire.transcription import Transcribed

_MERGE_BATCHES = 64
"""Batches that may wait for a slow client here; beyond it they wait, and are bounded, in the runtime."""


@dataclass(slots=True)
class Usage:
    """Tokens and engine times of a request so far. Choices of one prompt share its prompt tokens."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    finished: int = 0
    joules: float | None = None
    """Of all of it; None where no meter measured it."""
    _prompts: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, prompt: int, done: Finished) -> None:
        """Counts a finished choice of prompt number `prompt`."""
        self.finished += 1
        self.completion_tokens += done.completion_tokens
        if prompt not in self._prompts:
            self._prompts[prompt] = (done.prompt_tokens, done.cached_tokens)
            self.prompt_tokens += done.prompt_tokens
            self.cached_tokens += done.cached_tokens
        self.prefill_s = max(self.prefill_s, done.prefill_s)
        self.decode_s = max(self.decode_s, done.decode_s)

    @property
    def tokens_per_second(self) -> float | None:
        """All choices together, from the first token on: the tokens after it by the time after it."""
        later = self.completion_tokens - self.finished
        return later / self.decode_s if later > 0 and self.decode_s > 0 else None

    def as_openai(self) -> dict[str, object]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def energy(self) -> dict[str, object]:
        """What it cost, in all and by the tokens that were made, or by those of the prompt where none are. Empty where
        no meter measured it."""
        if self.joules is None:
            return {}
        energy: dict[str, object] = {"joules": round(self.joules, 3)}
        if tokens := self.completion_tokens or self.prompt_tokens:
            energy["joules_per_token"] = round(self.joules / tokens, 6)
        return energy

    def timings(self) -> dict[str, object]:
        """llama-server's `timings`; times in milliseconds. Besides, what it cost, where that was measured."""
        evaluated = self.prompt_tokens - self.cached_tokens
        return {
            "cache_n": self.cached_tokens,
            "prompt_n": evaluated,
            "prompt_ms": round(self.prefill_s * 1e3, 3),
            "prompt_per_second": round(evaluated / self.prefill_s, 2) if self.prefill_s > 0 else None,
            "predicted_n": self.completion_tokens,
            "predicted_ms": round(self.decode_s * 1e3, 3),
            "predicted_per_second": None if (rate := self.tokens_per_second) is None else round(rate, 2),
            **self.energy(),
        }


class Generation:
    """One HTTP request's runtime requests (one per prompt), as one source of events.

    Used as `with generation:`; leaving it, however that happens, cancels what still runs and closes the books: metrics
    and the log record.
    """

    def __init__(self, streams: Sequence[Stream], record: Record, metrics: ModelMetrics) -> None:
        self._streams = streams
        self._record = record
        self._metrics = metrics
        self._billed = False
        self.usage = Usage()

    def __enter__(self) -> Generation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._streams:
            stream.cancel()
        record, usage = self._record, self.usage
        record.queue_s = max((stream.queued_s for stream in self._streams), default=0.0)
        if usage.finished:
            record.prompt_tokens, record.cached_tokens = usage.prompt_tokens, usage.cached_tokens
            record.completion_tokens = usage.completion_tokens
            record.tokens_per_second = usage.tokens_per_second
        if isinstance(error, EdgeAgentError):
            record.error = error.code
        self._metrics.finished(record, error)

    def hand_text_to(self, taker: Callable[[Delta], bool]) -> None:
        """For a single prompt: `taker` gets text as it comes from the worker, while nothing else is under way
        (`Stream.hand_to`). `events` has what it returns False for, and everything up to the first token."""

        def take(delta: Delta) -> bool:
            if self._record.first_token_s is None or not taker(delta):
                return False
            self._metrics.tokens(delta.tokens)
            return True

        self._streams[0].hand_to(take)

    async def events(self) -> AsyncGenerator[tuple[int, list[Event]], None]:
        """Batches of events, each with the number of the prompt that it belongs to.

        Raises the request's error; one prompt's error is the whole request's.
        """
        source = _single(self._streams[0]) if len(self._streams) == 1 else _merged(self._streams)
        async with aclosing(source) as batches:
            async for prompt, events in batches:
                tokens = 0
                for event in events:
                    if type(event) is Delta:
                        tokens += event.tokens
                    elif type(event) is Finished:
                        if event.reason == "cancelled":
                            raise UnavailableError("The daemon cancelled this request.", hint="Send it again.")
                        self.usage.add(prompt, event)
                    elif type(event) is Embedded:
                        self.usage.prompt_tokens += event.prompt_tokens
                        self.usage.finished += 1
                    elif type(event) is Transcribed:
                        tokens += event.completion_tokens
                        self.usage.completion_tokens += event.completion_tokens
                        self.usage.finished += 1
                if tokens:
                    if self._record.first_token_s is None:
                        self._record.first_token_s = time.monotonic() - self._record.started
                    self._metrics.tokens(tokens)
                if not self._billed and all(stream.ended for stream in self._streams):
                    self._billed = True
                    self.usage.joules = await self._joules()
                yield prompt, events

    async def _joules(self) -> float | None:
        """None if one of them was not measured: a part is not what it cost."""
        bills = [await stream.joules() for stream in self._streams]
        known = [joules for joules in bills if joules is not None]
        return sum(known) if len(known) == len(bills) else None


def submit(
    request: web.Request,
    model: str,
    requests: Sequence[Request],
    *,
    priority: Priority,
    deadline_s: float,
) -> Generation:
    """Hands `requests` to the runtime, all or none. Raises what `Runtime.submit` raises."""
    runtime = request.app[RUNTIME]
    record = record_of(request)
    metrics = request.app[METRICS].of(model)
    metrics.started()
    record.model = model
    streams: list[Stream] = []
    try:
        for one in requests:
            streams.append(runtime.submit(model, one, client=record.client, priority=priority, deadline_s=deadline_s))
    except Exception as error:
        for stream in streams:
            stream.cancel()
        metrics.finished(record, error)
        raise
    return Generation(streams, record, metrics)


async def _single(stream: Stream) -> AsyncGenerator[tuple[int, list[Event]], None]:
    async for events in stream:
        yield 0, events


async def _merged(streams: Sequence[Stream]) -> AsyncGenerator[tuple[int, list[Event]], None]:
    """Events of all streams as they come. Ends after all of them, or with the first error."""
    arrived: asyncio.Queue[tuple[int, list[Event]] | Exception | None] = asyncio.Queue(_MERGE_BATCHES)

    async def pump(number: int, stream: Stream) -> None:
        try:
            async for events in stream:
                await arrived.put((number, events))
        except Exception as error:
            await arrived.put(error)
        else:
            await arrived.put(None)

    pumps = [asyncio.create_task(pump(number, stream)) for number, stream in enumerate(streams)]
    try:
        running = len(pumps)
        while running:
            item = await arrived.get()
            if item is None:
                running -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item
    finally:
        for task in pumps:
            task.cancel()
