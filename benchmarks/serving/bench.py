"""One model served by the daemon, and the same file in the raw loop, ready to be measured in turns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Exchange
from benchmarks.daemon import Daemon
from benchmarks.serving.raw_child import RawChild

MODEL = "bench"
SLOTS = 8
CONTEXT_TOKENS = 8192


@dataclass(frozen=True)
class Bench:
    daemon: Daemon
    raw: RawChild
    quick: bool

    def repeats(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@contextmanager
def opened(path: Path, *, quick: bool) -> Iterator[Bench]:
    """Both sides loaded, with the same context, sequences, threads and KV type. Both stay up; only one is ever busy."""
    threads = os.cpu_count() or 1
    table = {
        "context_tokens": CONTEXT_TOKENS, "slots": SLOTS, "threads": threads, "threads_batch": threads,
        "kv_type": "f16", "keep_alive_s": -1, "prefix_cache_mb": 256,
    }  # fmt: skip
    daemon = Daemon(models={MODEL: table})
    daemon.import_model(path, MODEL)
    with daemon, RawChild(path, sequences=SLOTS, context_tokens=CONTEXT_TOKENS, threads=threads) as raw:
        daemon.wait_until_loaded(MODEL)
        yield Bench(daemon, raw, quick)


def completion(prompt: str, tokens: int, *, model: str = MODEL, start_at: float = 0.0, **more: Any) -> Exchange:
    """A streamed greedy completion of exactly `tokens` tokens, unless `more` (fields of the body) says otherwise."""
    body = {
        "model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True,
        "stream": True, "stream_options": {"include_usage": True}, **more,
    }  # fmt: skip
    return Exchange("/v1/completions", body, start_at=start_at)


def completion_tokens(exchange: Exchange) -> int:
    """From the stream's usage. Raises `RuntimeError` for a stream that did not end well."""
    usage = next((chunk["usage"] for _, chunk in reversed(exchange.chunks()) if chunk.get("usage")), None)
    if usage is None or not exchange.finished:
        raise RuntimeError(
            f"a stream broke off: status {exchange.status}, {exchange.error or exchange.failure() or 'no usage'}"
        )
    tokens: int = usage["completion_tokens"]
    return tokens


def rate(exchanges: list[Exchange]) -> float:
    """Tokens per second of all streams together, while all of them run: last first token to first last token."""
    streams = [(completion_tokens(exchange), [at for at, _ in exchange.pieces()]) for exchange in exchanges]
    begin = max(times[0] for _, times in streams)
    end = min(times[-1] for _, times in streams)
    # An event may stand for several tokens where a character was held back until it was complete.
    tokens = sum(count / len(times) * sum(begin < at <= end for at in times) for count, times in streams)
    if end <= begin:
        raise RuntimeError("the streams did not run side by side: too few tokens for so fast a model")
    return tokens / (end - begin)
