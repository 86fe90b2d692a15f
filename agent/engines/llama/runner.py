"""One `llama_decode` at a time: timed, learned from, and with the threads that the moment allows."""

from __future__ import annotations

import time
from typing import Any

from agent.engines.llama.batch import Batch
from agent.engines.llama.crowding import Crowding
from agent.engines.llama.library import llama
from agent.engines.llama.pace import Pace
from agent.engines.service import Stats

DONE, NO_SPACE, ABORTED = 0, 1, 2
"""What `StepRunner.run` returns; anything below 0 is fatal (llama.h)."""


class StepRunner:
    """Runs batches on one context. `pace` says what steps cost here; `stats` what is going on."""

    def __init__(self, context: Any, *, threads: int, threads_batch: int) -> None:
        self.pace = Pace()
        self.stats = Stats(threads=threads)
        self._context = context
        self._crowding = Crowding(threads)
        self._threads_batch = threads_batch

    def run(self, batch: Batch, *, decoding: int, prefill_tokens: int) -> int:
        """Compute `batch`, which advances `decoding` streams and holds `prefill_tokens` of prompts besides."""
        started = self.stats.step_started_at = time.monotonic()
        status = int(llama.llama_decode(self._context, batch.struct()))
        if status == DONE:
            llama.llama_synchronize(self._context)
            self._learn(decoding, prefill_tokens, started)
        self.stats.step_started_at = None
        self.stats.batch_tokens = batch.size
        return status

    def set_threads(self, threads: int, threads_batch: int) -> None:
        """From the next step on. They are still reduced while something else holds the cores."""
        self._threads_batch = threads_batch
        self._crowding.allow(threads)
        self._use(threads)

    def _learn(self, decoding: int, prefill_tokens: int, started: float) -> None:
        now = time.monotonic()
        seconds = now - started
        expected_s = self.pace.expected_s(decoding=decoding, prefill_tokens=prefill_tokens)
        if not self._crowding.observe(expected_s=expected_s, seconds=seconds, now=now):
            self.pace.observe(decoding=decoding, prefill_tokens=prefill_tokens, seconds=seconds)
        if self._crowding.threads != self.stats.threads:
            self._use(self._crowding.threads)

    def _use(self, threads: int) -> None:
        crowded = threads < self._crowding.most
        batch = min(self._threads_batch, threads) if crowded else self._threads_batch
        llama.llama_set_n_threads(self._context, threads, batch)
        self.stats.threads = threads
