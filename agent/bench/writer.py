"""A model that generates text, asked in the way that its server understands: the same load for every server."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from agent.bench.completion import Completion, read_completion
from agent.bench.http import Http
from agent.bench.prompts import Fit, Prompts, fit
from agent.errors import EdgeAgentError, NotFoundError, QueueFullError, RequestError, UnavailableError

CHAT: Final = "/v1/chat/completions"
LEAST_TOKENS: Final = 16
MOST_TOKENS: Final = 1024
LASTING_S: Final = 0.3

TEMPERATURE: Final = 0.8
"""llama.cpp's and ollama's default."""

PATIENCE_S: Final = 120.0
"""How long a full queue is waited for."""

_SHORT_WORDS, _LONG_WORDS = 16, 96


class Writer:
    """`prepare` first. Where the server knows `ignore_eos`, every answer is exactly as long as asked."""

    def __init__(self, http: Http, model: str, *, seed: int) -> None:
        self.http = http
        self.model = model
        self.fit = Fit()
        self.route = "/v1/completions"
        self.counts_tokens = True
        self.lasting_tokens = LEAST_TOKENS
        self.ignores_end = True
        self._prompts = Prompts(seed)
        self._extras: dict[str, Any] = {"ignore_eos": True, "stream_options": {"include_usage": True}}

    async def prepare(self, *, chat: bool = False) -> None:
        """Finds out what the server understands, loads the model, and learns how many tokens a word is.

        `chat`: only through the chat route. Raises what the server says to a request that any OpenAI-compatible server
        should take.
        """
        if chat:
            self.route = CHAT
        first = await self._understood()
        self.counts_tokens = first.completion_tokens is not None and first.prompt_tokens is not None
        if not self.counts_tokens:
            return
        counted = []
        for words in (_SHORT_WORDS, _LONG_WORDS):
            answer = await self.complete(self._prompts.text(words), 2)
            counted.append((words, answer.prompt_tokens or 0))
        self.fit = fit(counted[0], counted[1])
        self.lasting_tokens = await self._lasting()

    async def _lasting(self) -> int:
        """How long an answer must be to take long beside the clock, the network and the waking of this process."""
        tokens = LEAST_TOKENS
        while tokens < MOST_TOKENS:
            began_s = time.perf_counter()
            await self.complete(self.prompt(_SHORT_WORDS), tokens)
            if time.perf_counter() - began_s >= LASTING_S:
                break
            tokens *= 4
        return tokens

    def heed_end(self) -> None:
        """Answers may be shorter than asked from now on, as those of another server are."""
        self._extras.pop("ignore_eos", None)
        self.ignores_end = False

    def prompt(self, tokens: int) -> str:
        """A new text of about `tokens` tokens."""
        return self._prompts.text(self.fit.words(tokens))

    async def complete(self, prompt: str, tokens: int) -> Completion:
        """Waits where the queue is full. Raises `QueueFullError` after `PATIENCE_S`, and what the server says."""
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self.try_complete(prompt, tokens)
            except QueueFullError as error:
                if time.monotonic() + error.retry_after_s > give_up_s:
                    raise
                await asyncio.sleep(max(0.05, error.retry_after_s))

    async def try_complete(self, prompt: str, tokens: int) -> Completion:
        """One attempt. Raises `QueueFullError` too."""
        return read_completion(await self.http.post(self.route, self.body(prompt, tokens)))

    def body(self, prompt: str, tokens: int) -> dict[str, Any]:
        """A request. Its seed is drawn too: a model that takes the likeliest token each time ends up in loops, at the
        worst of tokens without text, and then nobody can see when its first one came."""
        body = {"model": self.model, "max_tokens": tokens, "stream": True, **self._extras}
        body |= {"temperature": TEMPERATURE, "seed": self._prompts.number()}
        if self.route == CHAT:
            return {**body, "messages": [{"role": "user", "content": prompt}]}
        return {**body, "prompt": prompt}

    async def _understood(self) -> Completion:
        """The first answer, after leaving out one thing after the other that the server refuses."""
        while True:
            try:
                answer = await self.complete(self._prompts.text(_SHORT_WORDS), 2)
            except EdgeAgentError as error:
                if not self._simplify(error):
                    raise
            else:
                if not answer.text_s and answer.completion_tokens is None:
                    raise UnavailableError(f"{self.http.url} streams no text that {self.model} generates.")
                return answer

    def _simplify(self, error: EdgeAgentError) -> bool:
        """Whether there is something left to leave out."""
        if not isinstance(error, RequestError):
            return False
        if "ignore_eos" in self._extras:
            del self._extras["ignore_eos"]
            self.ignores_end = False
            return True
        if self.route != CHAT:
            self.route = CHAT
            self._extras["ignore_eos"] = True
            self.ignores_end = True
            return True
        if "stream_options" in self._extras and not isinstance(error, NotFoundError):
            del self._extras["stream_options"]
            return True
        return False
