"""What chat and completions do alike: send a generation as a stream of events, or gather it into one answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from agent.api.access import ClientGoneError, record_of, unexpected
from agent.api.generation import Generation, Usage
from agent.api.sse import DONE, EventStream
from agent.errors import EdgeAgentError
from agent.runtime.wire.generation import Delta, Finished, TokenLogprob

_logger = logging.getLogger("agent.api")


class Chunks(Protocol):
    """How one route words its stream. Each method returns whole server-sent events."""

    def opening(self) -> bytes:
        """Sent once, before the first text."""

    def delta(self, choice: int, delta: Delta) -> bytes:
        """New text."""

    def finish(self, choice: int, reason: str, timings: dict[str, object] | None) -> bytes:
        """A choice is complete; the last event of the stream carries the timings."""

    def usage(self, usage: Usage) -> bytes:
        """The extra event that `stream_options.include_usage` asks for."""


@dataclass(slots=True)
class Choice:
    """One gathered choice. `echoed` is the part of its text that came before any log-probabilities: the prompt."""

    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    echoed: str = ""
    reason: str = "stop"

    def add(self, delta: Delta) -> None:
        self.pieces.append(delta.text)
        if delta.logprobs:
            self.logprobs.extend(delta.logprobs)
        elif not delta.tokens and not self.logprobs:
            self.echoed += delta.text

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def send_stream(
    request: web.Request, generation: Generation, chunks: Chunks, *, n: int, total: int, usage_wanted: bool
) -> web.StreamResponse:
    """Streams `total` choices, `n` per prompt, until all are finished."""
    out = EventStream(request)
    parts = [chunks.opening()]
    finished = 0
    try:
        with generation:
            if total == 1:  # several choices come together, and make one write
                generation.hand_text_to(lambda delta: out.send_at_once(chunks.delta(0, delta)))
            async for prompt, events in generation.events():
                base = prompt * n
                for event in events:
                    if type(event) is Delta:
                        parts.append(chunks.delta(base + event.choice, event))
                    elif type(event) is Finished:
                        finished += 1
                        timings = generation.usage.timings() if finished == total and not usage_wanted else None
                        parts.append(chunks.finish(base + event.choice, event.reason, timings))
                if finished < total:
                    await out.send(b"".join(parts))
                    parts.clear()
            if usage_wanted:
                parts.append(chunks.usage(generation.usage))
            parts.append(DONE)
            return await out.finish(b"".join(parts))
    except EdgeAgentError as error:
        if not out.started:
            raise
        return await out.fail(error)
    except (ClientGoneError, ConnectionError):
        raise
    except Exception:
        if not out.started:
            raise
        _logger.exception("request %s failed in mid-stream", record_of(request).id)
        return await out.fail(unexpected())


async def gather(generation: Generation, *, n: int, total: int) -> list[Choice]:
    """Waits for `total` choices, `n` per prompt, in order."""
    choices = [Choice() for _ in range(total)]

    def take(delta: Delta) -> bool:
        choices[delta.choice].add(delta)
        return True

    with generation:
        if total == 1:
            generation.hand_text_to(take)
        async for prompt, events in generation.events():
            for event in events:
                if type(event) is Delta:
                    choices[prompt * n + event.choice].add(event)
                elif type(event) is Finished:
                    choices[prompt * n + event.choice].reason = event.reason
    return choices
