"""Continuous batching: each step advances every running sequence by one token, and prompts by a chunk.

What is where: `pace.share_step` decides who gets how many tokens of a step, `slots.place` where a new sequence goes;
this file moves tokens between them and llama.cpp. A sequence with one token left to compute is decoding, one with more
is in prefill; nothing else tells them apart, so a preempted or aborted sequence simply has more left to compute.

Not covered: speculative decoding, encoder-decoder models, images.
"""

from __future__ import annotations

import queue
import sys
import time
from array import array
from collections.abc import Callable

from agent.engines.llama.batch import Batch
from agent.engines.llama.kv import KeyValueCache
from agent.engines.llama.logprobs import token_logprob
from agent.engines.llama.model import AbortFlag, LlamaModel
from agent.engines.llama.pace import Work, share_step
from agent.engines.llama.prompt import Job
from agent.engines.llama.runner import ABORTED, DONE, NO_SPACE, StepRunner
from agent.engines.llama.sampler import Sampler
from agent.engines.llama.sequence import Sequence
from agent.engines.llama.slots import Placement, place
from agent.engines.llama.text import TextStream
from agent.engines.process import release_free_memory
from agent.engines.service import failure
from agent.errors import EdgeAgentError, EngineError
from agent.runtime.wire.control import Cancel, SetPace, SetThreads
from agent.runtime.wire.generation import FinishReason, TokenLogprob
from agent.runtime.wire.messages import FromWorker
from agent.runtime.wire.options import LlamaOptions

_HEADROOM_TOKENS = 32
_REST_AFTER_S = 0.5


class Stop:
    """Put into the inbox to end `Engine.run`."""


class Engine:
    """Runs `Job`s on one loaded model. `run` owns the model; the other methods may be called from any thread."""

    def __init__(
        self, model: LlamaModel, options: LlamaOptions, emit: Callable[[list[FromWorker]], None], abort: AbortFlag
    ) -> None:
        self.kv = KeyValueCache(model, slots=options.slots, host_bytes=options.prefix_cache_bytes)
        self._model = model
        self._context = model.context
        self._context_tokens: int = model.context_tokens
        self._batch = Batch(options.batch_tokens)
        self._most_tokens = self._batch.capacity
        self._outputs_per_step = options.slots
        self._emit = emit
        self._abort = abort
        self._inbox: queue.SimpleQueue[Job | Cancel | SetThreads | SetPace | Stop] = queue.SimpleQueue()
        self._runner = StepRunner(model.context, threads=options.threads, threads_batch=options.threads_batch)
        self.stats = self._runner.stats
        self._running: list[Sequence] = []
        self._waiting: list[Sequence] = []
        self._outbox: list[FromWorker] = []
        self._abortable: set[int] = set()
        self._orders = 0
        self._pause_ratio = 0.0
        self._rest_until_s = 0.0
        self._stopping = False

    def submit(self, job: Job) -> None:
        self._inbox.put(job)

    def cancel(self, request: Cancel) -> None:
        """A step is aborted if it computes a chunk of this request's prompt, or nothing else; one that others need is
        let finish."""
        self._inbox.put(request)
        if request.id in self._abortable:
            self._abort.set()

    def set_threads(self, request: SetThreads) -> None:
        self._inbox.put(request)

    def set_pace(self, request: SetPace) -> None:
        self._inbox.put(request)

    def stop(self) -> None:
        self._inbox.put(Stop())
        self._abort.set()

    def warm_up(self) -> None:
        """Touch all weights and learn the first step times, so that the first request pays for neither."""
        token = self._model.vocabulary.bos if self._model.vocabulary.bos >= 0 else 0
        for position, count in ((0, 8), (8, 1), (9, 1)):
            self._batch.clear()
            self._batch.add(array("i", [token] * count), position, 0, outputs=bytes(count - 1) + b"\x01")
            self._runner.run(self._batch, decoding=int(count == 1), prefill_tokens=count if count > 1 else 0)
        self.kv.clear()

    def run(self) -> None:
        """Work until `stop`. Raises `EngineError` when llama.cpp fails for good; the process should end then."""
        while True:
            self._take_inbox()
            if self._stopping:
                return
            started = time.monotonic()
            self._admit()
            if self._running:
                self._step()
            self._flush()
            if self._pause_ratio > 0:
                ended = time.monotonic()
                self._rest_until_s = ended + (ended - started) * self._pause_ratio

    # -- inbox ---------------------------------------------------------------------------------------------------------

    def _take_inbox(self) -> None:
        self._abort.clear()
        block = not (self._running or self._waiting)
        rest_after_s: float | None = _REST_AFTER_S
        while True:
            pause_s = self._pause_s()
            try:
                if pause_s > 0:
                    item = self._inbox.get(timeout=pause_s)
                else:
                    item = self._inbox.get(block=block, timeout=rest_after_s)
            except queue.Empty:
                if not block:
                    return
                # Idle for a while: what requests left behind goes where it costs nothing.
                self.kv.park()
                release_free_memory()
                rest_after_s = None
                continue
            block = False
            if isinstance(item, Job):
                self._open(item)
            elif isinstance(item, Cancel):
                for sequence in [s for s in (*self._running, *self._waiting) if s.request.id == item.id]:
                    self._finish(sequence, "cancelled")
            elif isinstance(item, SetThreads):
                self._runner.set_threads(item.threads, item.threads_batch)
            elif isinstance(item, SetPace):
                self._pause_ratio, self._rest_until_s = item.pause_ratio, 0.0
                self._most_tokens = max(1, min(self._batch.capacity, item.batch_tokens))
            else:
                self._stopping = True

    def _pause_s(self) -> float:
        """How long to rest before the next step. Orders are taken meanwhile; without any work there is no hurry."""
        if self._stopping or not self._running:
            return 0.0
        return self._rest_until_s - time.monotonic()

    def _open(self, job: Job) -> None:
        leader: Sequence | None = None
        opened: list[Sequence] = []
        try:
            for choice in range(job.request.n):
                opened.append(self._sequence(job, choice, leader))
                leader = leader or opened[0]
        except EdgeAgentError as error:
            for sequence in opened:
                sequence.sampler.close()
            self._outbox.append(failure(job.request.id, error))
            return
        self._waiting += opened

    def _sequence(self, job: Job, choice: int, leader: Sequence | None) -> Sequence:
        sampling = job.request.sampling
        sampler = Sampler(
            self._model.vocabulary,
            sampling,
            train_context=self._model.facts.train_context_tokens,
            grammar=job.grammar,
            seed_offset=choice,
        )
        sampler.remember_prompt(job.tokens)
        self._orders += 1
        room = self._context_tokens - len(job.tokens)
        wanted = job.request.max_tokens
        unlimited = sys.maxsize if job.request.context_shift else room
        return Sequence(
            request=job.request,
            choice=choice,
            order=self._orders,
            tokens=array("i", job.tokens),
            prompt_tokens=len(job.tokens),
            limit_tokens=unlimited if wanted is None else min(wanted, unlimited),
            sampler=sampler,
            text=TextStream(job.request.stop),
            echo_text=job.echo_text,
            leader=leader,
        )

    # -- admission -----------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Give slots to waiting sequences, oldest first, while there is room for them beside the running ones."""
        for sequence in list(self._waiting):
            leader = sequence.leader
            if leader is not None and leader.slot is not None and leader.computed < leader.prompt_tokens - 1:
                continue  # its siblings copy the prompt's keys and values as soon as they are there
            if sequence.limit_tokens <= 0 and not sequence.wants_prompt_logprobs:
                self._outbox += sequence.opening()
                self._finish(sequence, "length")
                continue
            reuse = sequence.request.cache_prompt and not sequence.wants_prompt_logprobs
            host_tokens = self.kv.host_prefix(sequence.tokens) if reuse else 0
            self.kv.refresh_reuse_limits()
            placement = place(sequence.tokens, self.kv.slots, host_prefix_tokens=host_tokens, reuse=reuse)
            if placement is None or not self._has_room(sequence, placement):
                return
            self.kv.occupy(placement, sequence.tokens)
            sequence.slot = placement.slot
            sequence.computed = len(placement.slot.tokens)
            if sequence.admitted_at is None:
                sequence.admitted_at = time.monotonic()
                sequence.cached_tokens = sequence.computed
                self._outbox += sequence.opening()
            self._waiting.remove(sequence)
            self._running.append(sequence)
            self._running.sort(key=lambda s: s.order)

    def _has_room(self, sequence: Sequence, placement: Placement) -> bool:
        """Whether the cache holds it beside the running ones as they are now; only theirs can be shared for nothing."""
        if not self._running:
            return True
        shared = placement.reused if placement.source is not None and placement.source.busy else 0
        held = sum(len(s.tokens) for s in self._running)
        return held + len(sequence.tokens) - shared + _HEADROOM_TOKENS <= self._context_tokens

    # -- one step ------------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        by_order = {s.order: s for s in self._running}
        work = [
            Work(s.order, s.remaining, self._outputs_per_step if s.wants_prompt_logprobs else self._batch.capacity)
            for s in self._running
        ]
        shares = [
            (by_order[key], count)
            for key, count in share_step(work, batch_tokens=self._most_tokens, pace=self._runner.pace)
        ]
        first_index = self._fill(shares)
        requests = {s.request.id for s, _ in shares}
        self._abortable = requests if len(requests) == 1 else {s.request.id for s, count in shares if count > 1}
        decoding = sum(1 for s, _ in shares if s.remaining == 1)
        prefill = sum(count for s, count in shares if s.remaining > 1)
        status = self._runner.run(self._batch, decoding=decoding, prefill_tokens=prefill)
        self._abortable = set()
        if status == DONE:
            for (sequence, count), index in zip(shares, first_index, strict=True):
                if sequence in self._running:  # and not ended by the failure of a sibling in this very step
                    self._advance(sequence, count, index)
        elif status == ABORTED:
            self._resync(shares)
        elif status == NO_SPACE:
            self._resync(shares)
            self._make_room()
        else:
            raise EngineError(f"llama_decode failed with {status}.")

    def _fill(self, shares: list[tuple[Sequence, int]]) -> list[int]:
        self._batch.clear()
        first_index = []
        for sequence, count in shares:
            assert sequence.slot is not None
            start, end = sequence.computed, sequence.computed + count
            if sequence.wants_prompt_logprobs:
                outputs = b"\x01" * count
            else:
                outputs = bytes(count - 1) + (b"\x01" if end == len(sequence.tokens) else b"\x00")
            first_index.append(self._batch.add(sequence.tokens[start:end], start, sequence.slot.index, outputs=outputs))
        return first_index

    def _advance(self, sequence: Sequence, count: int, index: int) -> None:
        assert sequence.slot is not None
        start = sequence.computed
        sequence.slot.tokens += sequence.tokens[start : start + count]
        sequence.computed += count
        if sequence.wants_prompt_logprobs:
            self._report_prompt(sequence, start, count, index)
        if sequence.remaining:
            return
        if sequence.generated >= sequence.limit_tokens:
            self._finish(sequence, "length")
            return
        output = index + count - 1
        try:
            token = sequence.sampler.sample(self._context, output)
        except EdgeAgentError as error:
            self._fail(sequence, error)
            return
        self._accept(sequence, token, output)

    def _accept(self, sequence: Sequence, token: int, output: int) -> None:
        vocabulary = self._model.vocabulary
        request = sequence.request
        ends = vocabulary.ends_generation(token) and not request.ignore_eos
        sequence.tokens.append(token)
        logprob: TokenLogprob | None = None
        if request.logprobs is not None and not ends:
            logprob = token_logprob(self._context, output, token, request.logprobs, vocabulary)
        delta = sequence.take(b"" if ends else vocabulary.piece(token), logprob)
        if delta is not None:
            self._outbox.append(delta)
        if ends or sequence.text.stopped is not None:
            self._finish(sequence, "stop")
        elif sequence.generated >= sequence.limit_tokens:
            self._finish(sequence, "length")
        elif len(sequence.tokens) >= self._context_tokens:
            if request.context_shift:
                self._shift(sequence)
            else:
                self._finish(sequence, "length")

    def _report_prompt(self, sequence: Sequence, start: int, count: int, index: int) -> None:
        """Log-probabilities of prompt tokens: the output at one position scores the token at the next."""
        vocabulary = self._model.vocabulary
        alternatives = sequence.request.logprobs or 0
        entries = []
        if start == 0:
            first = sequence.tokens[0]
            entries.append(TokenLogprob(token=first, piece=vocabulary.piece(first), logprob=0.0))
        for i in range(count):
            if start + i + 1 < sequence.prompt_tokens:
                token = sequence.tokens[start + i + 1]
                entries.append(token_logprob(self._context, index + i, token, alternatives, vocabulary))
        if entries:
            self._outbox.append(sequence.prompt_delta(tuple(entries)))

    # -- when something ends or does not fit ---------------------------------------------------------------------------

    def _shift(self, sequence: Sequence) -> None:
        """Forget the middle: keep the first quarter of the context and the newest half of what followed.

        The kept text is computed again at its new positions, which is right for every model and cache type.
        """
        keep = self._context_tokens // 4
        rest = sequence.tokens[keep:]
        sequence.tokens = sequence.tokens[:keep] + rest[len(rest) // 2 :]
        assert sequence.slot is not None
        sequence.computed = self.kv.truncate(sequence.slot, keep)

    def _resync(self, shares: list[tuple[Sequence, int]]) -> None:
        """After a step that did not finish: believe what llama.cpp says is in its cache, and compute the rest again."""
        for sequence, _ in shares:
            assert sequence.slot is not None
            sequence.computed = self.kv.resync(sequence.slot, sequence.tokens)

    def _make_room(self) -> None:
        """The KV cache is full: drop the longest idle conversation, or else preempt the youngest sequence."""
        if self.kv.evict_idle():
            return
        if len(self._running) > 1:
            youngest = self._running[-1]
            assert youngest.slot is not None
            self.kv.release(youngest.slot)
            self.kv.evict(youngest.slot)
            youngest.slot, youngest.computed = None, 0
            self._running.remove(youngest)
            self._waiting.insert(0, youngest)
            return
        self._finish(self._running[0], "length")

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        self._outbox += sequence.finish(reason)
        self._close(sequence)

    def _fail(self, sequence: Sequence, error: EdgeAgentError) -> None:
        self._outbox.append(failure(sequence.request.id, error))
        for each in [s for s in (*self._running, *self._waiting) if s.request.id == sequence.request.id]:
            self._close(each)

    def _close(self, sequence: Sequence) -> None:
        sequence.sampler.close()
        if sequence.slot is not None:
            self.kv.release(sequence.slot)
        if sequence in self._running:
            self._running.remove(sequence)
        if sequence in self._waiting:
            self._waiting.remove(sequence)

    def _flush(self) -> None:
        self.stats.active, self.stats.waiting = len(self._running), len(self._waiting)
        if self._outbox:
            outbox, self._outbox = self._outbox, []
            self._emit(outbox)
