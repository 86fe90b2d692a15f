"""One choice of one request on its way through the engine: its tokens, its sampler, its text."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field

from agent.engines.llama.sampler import Sampler
from agent.engines.llama.slots import Slot
from agent.engines.llama.text import TextStream
from agent.runtime.wire.generation import Delta, Finished, FinishReason, Generate, TokenLogprob


@dataclass
class Sequence:
    """`tokens` holds the prompt and what was generated; the first `computed` of them are in the KV cache of `slot`.

    `order` is the age: smaller came earlier. A sequence without a slot waits.
    """

    request: Generate
    choice: int
    order: int
    tokens: array[int]
    prompt_tokens: int
    limit_tokens: int
    sampler: Sampler
    text: TextStream
    echo_text: str = ""
    leader: Sequence | None = None
    slot: Slot | None = None
    computed: int = 0
    cached_tokens: int = 0
    generated: int = 0
    admitted_at: float | None = None
    first_token_at: float | None = None
    _unreported: int = 0
    _logprobs: list[tuple[int, TokenLogprob]] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def wants_prompt_logprobs(self) -> bool:
        return self.request.echo and self.request.logprobs is not None and self.generated == 0

    def opening(self) -> list[Delta]:
        """What is sent before any token is drawn: the prompt, when it was asked for."""
        if not self.echo_text or self.request.logprobs is not None:
            return []
        return [Delta(id=self.request.id, choice=self.choice, text=self.echo_text)]

    def take(self, piece: bytes, logprob: TokenLogprob | None) -> Delta | None:
        """Account for a drawn token. Returns the text that may be shown now, if any."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        self.generated += 1
        self._unreported += 1
        shown = self.text.feed(piece)
        if logprob is not None:
            self._logprobs.append((self.text.seen_chars, logprob))
        return self._delta(shown) if shown else None

    def prompt_delta(self, entries: tuple[TokenLogprob, ...]) -> Delta:
        """The echoed prompt with its log-probabilities."""
        text = b"".join(entry.piece for entry in entries).decode("utf-8", "replace")
        return Delta(id=self.request.id, choice=self.choice, text=text, logprobs=entries)

    def finish(self, reason: FinishReason) -> list[Delta | Finished]:
        """The held-back rest and the end."""
        rest = self.text.flush()
        events: list[Delta | Finished] = []
        if rest or self._unreported:
            events.append(self._delta(rest, final=True))
        now = time.monotonic()
        start = self.admitted_at if self.admitted_at is not None else now
        first = self.first_token_at if self.first_token_at is not None else now
        events.append(
            Finished(
                id=self.request.id,
                choice=self.choice,
                reason=reason,
                stop_sequence=self.text.stopped,
                prompt_tokens=self.prompt_tokens,
                cached_tokens=self.cached_tokens,
                completion_tokens=self.generated,
                prefill_s=first - start,
                decode_s=now - first,
            )
        )
        return events

    def _delta(self, text: str, *, final: bool = False) -> Delta:
        released: tuple[TokenLogprob, ...] | None = None
        if self.request.logprobs is not None:
            shown = self.text.shown_chars
            ready = [entry for end, entry in self._logprobs if (final and self.text.stopped is None) or end <= shown]
            self._logprobs = self._logprobs[len(ready) :]
            released = tuple(ready)
        tokens, self._unreported = self._unreported, 0
        return Delta(id=self.request.id, choice=self.choice, text=text, tokens=tokens, logprobs=released)
