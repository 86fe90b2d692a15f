"""Embeddings from GGUF models: inputs of all waiting requests packed into batches, pooled by llama.cpp."""

from __future__ import annotations

import math
import queue
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.engines.llama.batch import Batch
from agent.engines.llama.engine import Stop
from agent.engines.llama.library import llama
from agent.engines.llama.model import AbortFlag, LlamaModel
from agent.engines.service import Stats, failure
from agent.errors import ContextOverflowError, EngineError, RequestError
from agent.runtime.wire.control import Cancel, SetPace, SetThreads
from agent.runtime.wire.embedding import Embed, Embedded
from agent.runtime.wire.generation import Finished
from agent.runtime.wire.messages import FromWorker
from agent.runtime.wire.options import LlamaOptions


@dataclass
class _Open:
    """A request on its way: `rows[i]` is the vector of input i, empty until computed."""

    request: Embed
    inputs: list[array[int]]
    truncated: tuple[int, ...]
    rows: list[array[float]] = field(default_factory=list)
    pending: int = 0


class EmbeddingEngine:
    """Same outside as `Engine`, for `Embed` requests."""

    def __init__(
        self, model: LlamaModel, options: LlamaOptions, emit: Callable[[list[FromWorker]], None], abort: AbortFlag
    ) -> None:
        self.stats = Stats(threads=options.threads)
        self.dim = model.facts.embedding_dim
        self._model = model
        self._emit = emit
        self._abort = abort
        self._memory = llama.llama_get_memory(model.context)
        # An encoder sees its whole input at once: it must fit one micro-batch.
        self._limit = min(options.batch_tokens, options.micro_batch_tokens, llama.llama_n_ctx_seq(model.context))
        self._limit = min(self._limit, model.facts.train_context_tokens)
        self._batch = Batch(min(options.batch_tokens, options.micro_batch_tokens))
        self._sequences = options.slots
        self._inbox: queue.SimpleQueue[_Open | Cancel | SetThreads | SetPace | Stop] = queue.SimpleQueue()
        self._pause_ratio = 0.0
        self._rest_until_s = 0.0
        self._queue: list[tuple[_Open, int]] = []

    def submit(self, request: Embed) -> None:
        """Raises `RequestError` for an empty input, `ContextOverflowError` for one that is too long."""
        if request.prompt_name is not None:
            raise RequestError("A GGUF model brings no prompts.", param="prompt_name", hint="Put it into the text.")
        inputs, truncated = [], []
        vocabulary = self._model.vocabulary
        for i, value in enumerate(request.inputs):
            if isinstance(value, str):
                tokens = vocabulary.tokenize(value, add_special=True, parse_special=False)
            else:
                if any(not 0 <= token < vocabulary.size for token in value):
                    raise RequestError(f"Input {i} has a token outside 0 to {vocabulary.size - 1}.", param="input")
                tokens = array("i", value)
            if not tokens or value == "":
                raise RequestError(f"Input {i} is empty.", param="input", hint="Leave empty texts out.")
            if len(tokens) > self._limit:
                if not request.truncate:
                    raise ContextOverflowError(
                        f"Input {i} has {len(tokens)} tokens; this model takes {self._limit}.",
                        hint="Split the text, or send truncate: true.",
                        param="input",
                    )
                tokens = tokens[: self._limit]
                truncated.append(i)
            inputs.append(tokens)
        rows = [array("f") for _ in inputs]
        self._inbox.put(_Open(request, inputs, tuple(truncated), rows=rows, pending=len(inputs)))

    def cancel(self, request: Cancel) -> None:
        self._inbox.put(request)

    def set_threads(self, request: SetThreads) -> None:
        self._inbox.put(request)

    def set_pace(self, request: SetPace) -> None:
        """Only the rests: an encoder sees its whole input at once."""
        self._inbox.put(request)

    def stop(self) -> None:
        self._inbox.put(Stop())
        self._abort.set()

    def warm_up(self) -> None:
        token = max(self._model.vocabulary.bos, 0)
        self._compute([(_Open(Embed(inputs=()), [array("i", [token] * 4)], (), rows=[array("f")], pending=2), 0)])

    def run(self) -> None:
        """Work until `stop`. Raises `EngineError` when llama.cpp fails for good."""
        while True:
            block = not self._queue
            while True:
                pause_s = self._rest_until_s - time.monotonic() if self._queue else 0.0
                try:
                    item = self._inbox.get(timeout=pause_s) if pause_s > 0 else self._inbox.get(block=block)
                except queue.Empty:
                    break
                block = False
                if isinstance(item, _Open):
                    # Short ones together: the queue stays sorted by length, and requests share batches.
                    self._queue += [(item, i) for i in range(len(item.inputs))]
                    self._queue.sort(key=lambda entry: len(entry[0].inputs[entry[1]]))
                elif isinstance(item, Cancel):
                    waiting = [entry for entry in self._queue if entry[0].request.id != item.id]
                    if len(waiting) < len(self._queue):
                        self._emit([Finished(id=item.id, reason="cancelled")])
                    self._queue = waiting
                elif isinstance(item, SetThreads):
                    llama.llama_set_n_threads(self._model.context, item.threads, item.threads_batch)
                    self.stats.threads = item.threads
                elif isinstance(item, SetPace):
                    self._pause_ratio, self._rest_until_s = item.pause_ratio, 0.0
                else:
                    return
            if self._queue:
                self._compute(self._next_batch())

    def _next_batch(self) -> list[tuple[_Open, int]]:
        taken, tokens = 0, 0
        for opened, i in self._queue:
            if taken == self._sequences or tokens + len(opened.inputs[i]) > self._batch.capacity:
                break
            taken += 1
            tokens += len(opened.inputs[i])
        batch, self._queue = self._queue[:taken], self._queue[taken:]
        return batch

    def _compute(self, entries: list[tuple[_Open, int]]) -> None:
        self._batch.clear()
        for sequence, (opened, i) in enumerate(entries):
            tokens = opened.inputs[i]
            self._batch.add(tokens, 0, sequence, outputs=b"\x01" * len(tokens))
        self.stats.active, self.stats.waiting = len(entries), len(self._queue)
        self.stats.batch_tokens = self._batch.size
        self.stats.step_started_at = time.monotonic()
        if self._memory:
            llama.llama_memory_clear(self._memory, False)
        status = llama.llama_decode(self._model.context, self._batch.struct())
        if status != 0:
            raise EngineError(f"llama_decode failed with {status} on a batch to embed.")
        offset = 0
        for sequence, (opened, i) in enumerate(entries):
            offset += len(opened.inputs[i])
            self._collect(opened, i, sequence, last=offset - 1)
        ended = time.monotonic()
        self._rest_until_s = ended + (ended - self.stats.step_started_at) * self._pause_ratio
        self.stats.step_started_at = None
        self.stats.active = 0

    def _collect(self, opened: _Open, i: int, sequence: int, *, last: int) -> None:
        context = self._model.context
        if self._model.pooling == "none":
            values = llama.llama_get_embeddings_ith(context, last)
        else:
            values = llama.llama_get_embeddings_seq(context, sequence)
        row = array("f", values[: self.dim])
        if opened.request.normalize:
            norm = math.sqrt(sum(x * x for x in row)) or 1.0
            row = array("f", [x / norm for x in row])
        opened.rows[i] = row
        opened.pending -= 1
        if opened.pending == 0:
            self._emit([self._answer(opened)])

    def _answer(self, opened: _Open) -> FromWorker:
        vectors = b"".join(row.tobytes() for row in opened.rows)
        if any(not math.isfinite(x) for row in opened.rows for x in row):
            error = EngineError("The model gave a vector that is not a number.", hint="The model file is damaged.")
            return failure(opened.request.id, error)
        return Embedded(
            id=opened.request.id,
            dim=self.dim,
            vectors=vectors,
            prompt_tokens=sum(len(tokens) for tokens in opened.inputs),
            truncated=opened.truncated,
        )
