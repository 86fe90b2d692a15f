"""`POST /v1/completions`: the older route, and the one that takes prompts as they are."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterable, Sequence

import msgspec
from aiohttp import web

from agent.api.access import record_of
from agent.api.answer import Choice, gather, send_stream
from agent.api.chat import finite
from agent.api.decode import decode
from agent.api.generation import Usage, submit
from agent.api.models import find_model
from agent.api.parts import SETTINGS
from agent.api.requests import CompletionRequest
from agent.api.sse import event
from agent.runtime.wire.generation import Delta, TokenLogprob

_encode = msgspec.json.encode


async def completions(request: web.Request) -> web.StreamResponse:
    """Several prompts are several requests to the runtime; choice `prompt * n + choice` is theirs in the answer."""
    body = await decode(request, CompletionRequest)
    settings = request.app[SETTINGS]
    model = find_model(request, body.model, "generate")
    streaming = body.streaming()
    generates = body.to_generates(
        choice_limit=settings.choice_limit,
        prompt_limit=settings.prompt_limit,
        defaults=settings.sampling.get(model, {}),
    )
    n = generates[0].n
    total = n * len(generates)
    generation = submit(
        request, model, generates, priority=body.urgency(), deadline_s=body.patience_s(settings.request_timeout_s)
    )
    chunks = CompletionChunks(record_of(request).id, model, total, with_usage=body.usage_wanted())
    if streaming:
        return await send_stream(request, generation, chunks, n=n, total=total, usage_wanted=body.usage_wanted())
    choices = await gather(generation, n=n, total=total)
    answer = chunks.whole(choices, generation.usage, logprobs=body.logprobs is not None)
    return web.Response(body=answer, content_type="application/json")


class CompletionChunks:
    """The JSON of one completion, prepared like `ChatChunks`."""

    def __init__(self, id: str, model: str, total: int, *, with_usage: bool) -> None:
        self._identity = {"id": f"cmpl-{id}", "created": int(time.time()), "model": model}
        self._head = _encode({"object": "text_completion", **self._identity})[:-1]
        self._end = (b',"usage":null}' if with_usage else b"}") + b"\n\n"
        self._before = [b'data: %b,"choices":[{"index":%d,"text":' % (self._head, index) for index in range(total)]
        self._after = b',"logprobs":null,"finish_reason":null}]' + self._end
        self._offsets = [TextOffsets() for _ in range(total)]

    def opening(self) -> bytes:
        return b""

    def delta(self, choice: int, delta: Delta) -> bytes:
        if delta.logprobs is None:
            self._offsets[choice].skip(delta.text)
            return self._before[choice] + _encode(delta.text) + self._after
        logprobs = legacy_logprobs(delta.logprobs, self._offsets[choice])
        return b"".join(
            (
                self._before[choice],
                _encode(delta.text),
                b',"logprobs":',
                _encode(logprobs),
                b',"finish_reason":null}]',
                self._end,
            )
        )

    def finish(self, choice: int, reason: str, timings: dict[str, object] | None) -> bytes:
        tail = b'"","logprobs":null,"finish_reason":%b}]' % _encode(reason)
        if timings is not None:
            tail += b',"timings":' + _encode(timings)
        return self._before[choice] + tail + self._end

    def usage(self, usage: Usage) -> bytes:
        counts = _encode({"choices": [], "usage": usage.as_openai(), "timings": usage.timings()})
        return event(self._head + b"," + counts[1:])

    def whole(self, choices: Sequence[Choice], usage: Usage, *, logprobs: bool) -> bytes:
        """The answer to a request that does not stream."""
        return _encode(
            {
                "object": "text_completion",
                **self._identity,
                "choices": [
                    {
                        "index": index,
                        "text": choice.text,
                        "logprobs": _gathered_logprobs(choice) if logprobs else None,
                        "finish_reason": choice.reason,
                    }
                    for index, choice in enumerate(choices)
                ],
                "usage": usage.as_openai(),
                "timings": usage.timings(),
            }
        )


class TextOffsets:
    """Where each token begins in its choice's text, in characters. A character split over tokens counts once."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def skip(self, text: str) -> None:
        """Text that comes without tokens: an echoed prompt."""
        self._characters += len(text)

    def next(self, piece: bytes) -> int:
        offset = self._characters
        self._characters += len(self._decoder.decode(piece))
        return offset


def legacy_logprobs(tokens: Iterable[TokenLogprob], offsets: TextOffsets) -> dict[str, object]:
    """OpenAI's shape before chat: parallel lists, alternatives by their text."""
    tokens = tuple(tokens)
    return {
        "tokens": [_text(token.piece) for token in tokens],
        "token_logprobs": [finite(token.logprob) for token in tokens],
        "top_logprobs": [{_text(piece): finite(logprob) for _, piece, logprob in token.top} for token in tokens],
        "text_offset": [offsets.next(token.piece) for token in tokens],
    }


def _gathered_logprobs(choice: Choice) -> dict[str, object]:
    offsets = TextOffsets()
    if choice.echoed:
        offsets.skip(choice.echoed)
    return legacy_logprobs(choice.logprobs, offsets)


def _text(piece: bytes) -> str:
    """A token's text; bytes that are no text alone show as OpenAI shows them."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
