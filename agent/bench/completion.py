"""A streamed answer as it is measured: when its text came, and how many tokens the server says it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.bench.http import Exchange
from agent.bench.response import DONE
from agent.errors import EdgeAgentError, QueueFullError, RequestError, UnavailableError, by_code

_LEAST_ARRIVALS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Times are `time.perf_counter()` seconds. `text_s` are the arrivals of events that brought text, in order;
    `ended_s` that of the event which said that the answer is over. Tokens are the server's own count (`usage`), None
    where it gives none. `server_*` are llama-server's `timings`, None where the server sends none."""

    sent_s: float
    text_s: tuple[float, ...]
    ended_s: float
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    completion_tokens: int | None = None
    server_tokens_per_s: float | None = None
    server_prompt_tokens_per_s: float | None = None

    @property
    def first_s(self) -> float | None:
        """From sending to the first text."""
        return self.text_s[0] - self.sent_s if self.text_s else None

    @property
    def tokens_per_s(self) -> float | None:
        """The tokens after the first by the time after it; None where the text came in a piece or two, so that this
        time is not known."""
        if len(set(self.text_s)) < _LEAST_ARRIVALS or self.completion_tokens is None or self.completion_tokens < 2:
            return None
        elapsed_s = self.ended_s - self.text_s[0]
        return (self.completion_tokens - 1) / elapsed_s if elapsed_s > 0 else None

    @property
    def prompt_tokens_per_s(self) -> float | None:
        """Prompt tokens that had to be computed, by the time to the first text: as a client sees it."""
        if self.prompt_tokens is None or not self.first_s:
            return None
        return max(0, self.prompt_tokens - self.cached_tokens) / self.first_s


def read_completion(exchange: Exchange) -> Completion:
    """Raises the server's own error, or `UnavailableError` for an answer that broke off or is none of OpenAI's."""
    check(exchange)
    text_s: list[float] = []
    ended_s = 0.0
    usage: dict[str, Any] = {}
    timings: dict[str, Any] = {}
    for at_s, chunk in _chunks(exchange):
        if isinstance(chunk.get("error"), dict | str):
            raise error_of(chunk, 500, None)
        for choice in _dicts(chunk.get("choices")):
            if _text(choice):
                text_s.append(at_s)
                ended_s = at_s
            if choice.get("finish_reason"):
                ended_s = at_s
        usage = chunk["usage"] if isinstance(chunk.get("usage"), dict) else usage
        timings = chunk["timings"] if isinstance(chunk.get("timings"), dict) else timings
    if not exchange.response.events:
        raise UnavailableError("The server did not stream its answer.")
    details = usage.get("prompt_tokens_details")
    return Completion(
        sent_s=exchange.sent_s,
        text_s=tuple(text_s),
        ended_s=ended_s,
        prompt_tokens=_whole(usage.get("prompt_tokens")),
        cached_tokens=_whole(details.get("cached_tokens")) or 0 if isinstance(details, dict) else 0,
        completion_tokens=_whole(usage.get("completion_tokens")),
        server_tokens_per_s=_positive(timings.get("predicted_per_second")),
        server_prompt_tokens_per_s=_positive(timings.get("prompt_per_second")),
    )


def check(exchange: Exchange) -> None:
    """Raises what is wrong with an answer as a whole: the server's error, or `UnavailableError` for a broken one."""
    response = exchange.response
    if response.status >= 400:
        try:
            answer = exchange.json()
        except (ValueError, RecursionError):
            answer = None
        raise error_of(answer, response.status, response.headers.get("retry-after"))
    if exchange.error:
        raise UnavailableError(f"An answer broke off: {exchange.error}.")


def error_of(answer: Any, status: int, retry_after: str | None) -> EdgeAgentError:
    """A server's error as one of ours: out of OpenAI's envelope, or ollama's, or whatever there is."""
    error = answer.get("error") if isinstance(answer, dict) else None
    code, message = "", ""
    if isinstance(error, dict):
        code, message = str(error.get("code")), str(error.get("message") or "")
    elif isinstance(error, str):
        message = error
    message = message or f"The server answered with status {status}."
    if status == QueueFullError.status:
        seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 1.0
        return QueueFullError(message, retry_after_s=seconds)
    kind = by_code(code)
    if kind is EdgeAgentError and 400 <= status < 500:
        kind = RequestError
    return kind(message)


def together_per_s(answers: Sequence[Completion]) -> float | None:
    """Tokens per second of all `answers` while all of them ran: from the last first text to the first last text. None
    where they did not run side by side, or tokens are not known."""
    if any(not one.text_s or one.completion_tokens is None for one in answers):
        return None
    begin_s = max(one.text_s[0] for one in answers)
    end_s = min(one.text_s[-1] for one in answers)
    if end_s <= begin_s:
        return None
    # An event may stand for several tokens, where a character was held back until it was complete.
    tokens = sum(
        (one.completion_tokens or 0) / len(one.text_s) * sum(begin_s < at_s <= end_s for at_s in one.text_s)
        for one in answers
    )
    return tokens / (end_s - begin_s)


def _chunks(exchange: Exchange) -> list[tuple[float, dict[str, Any]]]:
    found = []
    for at_s, data in exchange.response.events:
        if data == DONE:
            continue
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise UnavailableError("The server streamed an event that is no JSON.") from None
        if isinstance(chunk, dict):
            found.append((at_s, chunk))
    return found


def _text(choice: dict[str, Any]) -> bool:
    """Whether it brought text: of either route, or what a model thinks before it answers."""
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return bool(delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"))
    return bool(choice.get("text"))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
