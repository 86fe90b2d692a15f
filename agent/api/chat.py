"""`POST /v1/chat/completions`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

import msgspec
from aiohttp import web

from agent.api.access import record_of
from agent.api.answer import Choice, gather, send_stream
from agent.api.decode import decode
from agent.api.generation import Usage, submit
from agent.api.models import find_model
from agent.api.parts import SETTINGS
from agent.api.requests import ChatRequest
from agent.api.retrieval import Grounding, ground
from agent.api.sse import event
from agent.errors import ContextOverflowError
from agent.runtime.wire.generation import Delta, Generate, TokenLogprob

LEAST_LOGPROB = -9999.0
"""OpenAI's stand-in for minus infinity, which JSON does not have."""

_encode = msgspec.json.encode


async def chat(request: web.Request) -> web.StreamResponse:
    body = await decode(request, ChatRequest)
    settings = request.app[SETTINGS]
    model = find_model(request, body.model, "generate")
    body.streaming()
    generate = body.to_generate(choice_limit=settings.choice_limit, defaults=settings.sampling.get(model, {}))
    grounding = None
    if body.retrieve is not None:
        grounding = await ground(
            request,
            model,
            generate,
            body.retrieve,
            priority=body.urgency(),
            deadline_s=body.patience_s(settings.request_timeout_s),
        )
    while True:
        try:
            return await _answer(request, body, model, generate, grounding)
        except ContextOverflowError:
            # The model's own count of tokens is the one that matters: with fewer passages it may fit.
            if grounding is None or not grounding.passages:
                raise
            grounding = grounding.fewer()


async def _answer(
    request: web.Request, body: ChatRequest, model: str, asked: Generate, grounding: Grounding | None
) -> web.StreamResponse:
    generate = asked if grounding is None else grounding.grounded(asked)
    generation = submit(
        request,
        model,
        [generate],
        priority=body.urgency(),
        deadline_s=body.patience_s(request.app[SETTINGS].request_timeout_s),
    )
    extra = {} if grounding is None else grounding.described()
    chunks = ChatChunks(record_of(request).id, model, generate.n, with_usage=body.usage_wanted(), extra=extra)
    if body.streaming():
        return await send_stream(
            request, generation, chunks, n=generate.n, total=generate.n, usage_wanted=body.usage_wanted()
        )
    choices = await gather(generation, n=generate.n, total=generate.n)
    answer = chunks.whole(choices, generation.usage, logprobs=generate.logprobs is not None)
    return web.Response(body=answer, content_type="application/json")


class ChatChunks:
    """The JSON of one chat completion, prepared so that a token costs one encoded string and two concatenations."""

    def __init__(
        self, id: str, model: str, n: int, *, with_usage: bool, extra: Mapping[str, object] | None = None
    ) -> None:
        """`extra` are further fields of the answer, or of a stream's last event."""
        self._extra = dict(extra or {})
        self._identity = {"id": f"chatcmpl-{id}", "created": int(time.time()), "model": model}
        head = _encode({"object": "chat.completion.chunk", **self._identity})[:-1]
        self._end = (b',"usage":null}' if with_usage else b"}") + b"\n\n"
        self._before = [b'data: %b,"choices":[{"index":%d,"delta":{' % (head, index) for index in range(n)]
        self._content = [before + b'"content":' for before in self._before]
        self._after_content = b'},"logprobs":null,"finish_reason":null}]' + self._end
        self._head = head

    def opening(self) -> bytes:
        role = b'"role":"assistant","content":""' + self._after_content
        return b"".join(before + role for before in self._before)

    def delta(self, choice: int, delta: Delta) -> bytes:
        if delta.logprobs is None:
            return self._content[choice] + _encode(delta.text) + self._after_content
        return b"".join(
            (
                self._content[choice],
                _encode(delta.text),
                b'},"logprobs":',
                _encode(chat_logprobs(delta.logprobs)),
                b',"finish_reason":null}]',
                self._end,
            )
        )

    def finish(self, choice: int, reason: str, timings: dict[str, object] | None) -> bytes:
        tail = b'},"logprobs":null,"finish_reason":%b}]' % _encode(reason)
        if timings is not None:
            tail += b"," + _encode({"timings": timings, **self._extra})[1:-1]
        return self._before[choice] + tail + self._end

    def usage(self, usage: Usage) -> bytes:
        counts = _encode({"choices": [], "usage": usage.as_openai(), "timings": usage.timings(), **self._extra})
        return event(self._head + b"," + counts[1:])

    def whole(self, choices: Iterable[Choice], usage: Usage, *, logprobs: bool) -> bytes:
        """The answer to a request that does not stream."""
        return _encode(
            {
                "object": "chat.completion",
                **self._identity,
                "choices": [
                    {
                        "index": index,
                        "message": {"role": "assistant", "content": choice.text, "refusal": None},
                        "logprobs": chat_logprobs(choice.logprobs) if logprobs else None,
                        "finish_reason": choice.reason,
                    }
                    for index, choice in enumerate(choices)
                ],
                "usage": usage.as_openai(),
                "timings": usage.timings(),
                **self._extra,
            }
        )


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, object]:
    """OpenAI's shape for chat: every token with its text, its bytes and its best alternatives."""
    return {
        "content": [
            {
                **_token(token.piece, token.logprob),
                "top_logprobs": [_token(piece, logprob) for _, piece, logprob in token.top],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def finite(logprob: float) -> float | None:
    """None for a probability that does not exist (the first token of an echoed prompt)."""
    return None if math.isnan(logprob) else max(logprob, LEAST_LOGPROB)


def _token(piece: bytes, logprob: float) -> dict[str, object]:
    return {"token": piece.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(piece)}
