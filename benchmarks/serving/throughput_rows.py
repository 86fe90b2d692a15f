"""Tokens per second over HTTP against the raw loop: one, four and eight clients."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.client import exchange_all
from benchmarks.report import Row
from benchmarks.serving.bench import Bench, completion, rate

_PROMPT_TOKENS = 16
_SAMPLERS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "default": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
}
# Bars: share of the raw loop at the same batch, and multiple of one client.
_BATCHES = {4: (0.95, 2.6), 8: (0.95, 3.3)}


def throughput(bench: Bench) -> Iterator[Row]:
    served_one = 0.0
    raw_one = 0.0
    for sampler in _SAMPLERS:
        served, raw = _compare(bench, 1, sampler)
        yield _ratio_row(f"one streaming client, {sampler}", served, raw, 0.97)
        if sampler == "greedy":
            served_one, raw_one = statistics.median(served), statistics.median(raw)
    for clients, (share, multiple) in _BATCHES.items():
        served, raw = _compare(bench, clients, "greedy")
        yield _ratio_row(f"{clients} streaming clients", served, raw, share)
        gain, raw_gain = statistics.median(served) / served_one, statistics.median(raw) / raw_one
        yield Row(
            what=f"{clients} streaming clients over one",
            bar=f">= {multiple:g}x",
            measured=f"{gain:.2f}x (the raw loop: {raw_gain:.2f}x)",
            passed=gain >= multiple,
            numbers={"gain": gain, "raw_gain": raw_gain},
        )


def _compare(bench: Bench, clients: int, sampler: str) -> tuple[list[float], list[float]]:
    """Tokens per second of daemon and raw loop in each turn; each goes first in every second. The machine has moods,
    which a turn's two share if it is short, and what ran before is one of them."""
    tokens = 32 if bench.quick else 48
    served: list[float] = []
    raw: list[float] = []
    for turn in range(bench.repeats(19, 2)):
        prompts = [bench.raw.prompt(_PROMPT_TOKENS, 1000 * turn + client) for client in range(clients)]
        for side in (raw, served) if turn % 2 else (served, raw):
            if side is raw:
                _, steps_s = bench.raw.run(prompts, tokens, sampler)
                raw.append(clients * len(steps_s) / sum(steps_s))
            else:
                exchanges = [completion(prompt, tokens, seed=turn, **_SAMPLERS[sampler]) for prompt in prompts]
                served.append(rate(exchange_all(bench.daemon.port, exchanges)))
    return served, raw


def _ratio_row(what: str, served: list[float], raw: list[float], bar: float) -> Row:
    served_median, raw_median = statistics.median(served), statistics.median(raw)
    ratio = statistics.median(one / other for one, other in zip(served, raw, strict=True))
    return Row(
        what=what,
        bar=f">= {bar:g} of the raw loop",
        measured=f"{ratio:.3f} ({served_median:.1f} of {raw_median:.1f} tok/s)",
        passed=ratio >= bar,
        numbers={"ratio": ratio, "served_tokens_per_s": served, "raw_tokens_per_s": raw},
    )
