"""An embedding model in ONNX served by a worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import onnxruntime

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.embedding_engine import EmbeddingEngine, Job
from agent.engines.onnx.embedding_folder import read_folder
from agent.engines.onnx.session import CPU, SessionOptions
from agent.engines.process import give_large_blocks_back, release_free_memory, resident_bytes
from agent.errors import ContextOverflowError, RequestError
from agent.runtime.wire import (
    Cancel,
    Embed,
    FromWorker,
    Loaded,
    Memory,
    OnnxOptions,
    Pong,
    Request,
    SetPace,
    SetThreads,
)

MIB: Final = 1024 * 1024
OVERHEAD_BYTES: Final = 76 * MIB
"""Python, NumPy, ONNX Runtime and a vocabulary of 30,000 tokens, measured (docs/performance.md)."""
BYTES_PER_TOKEN: Final = 48 * 1024
"""Activations of one padded token of a run at a width of 384, where no manifest says."""


def predict(path: Path, options: OnnxOptions) -> Memory:
    """An estimate from the sizes of files, and from the manifest's activations of one longest text.

    Raises `ModelLoadError` where there is no graph.
    """
    give_large_blocks_back()
    about = read_folder(path)
    graph = about.graph
    file_bytes = sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))
    per_token = about.compute_bytes / about.max_tokens if about.compute_bytes else BYTES_PER_TOKEN
    return Memory(
        weights_bytes=file_bytes,
        kv_bytes=0,
        compute_bytes=int(max(options.batch_tokens, about.max_tokens) * per_token),
        overhead_bytes=OVERHEAD_BYTES,
    )


class EmbeddingService:
    """Loads the model on construction. Raises `ModelLoadError`."""

    def __init__(
        self, path: Path, options: OnnxOptions, predicted: Memory, emit: Callable[[list[FromWorker]], None]
    ) -> None:
        started = time.monotonic()
        os.environ.setdefault("RAYON_NUM_THREADS", str(options.threads))  # the tokenizer would take every core
        there = onnxruntime.get_available_providers()
        wanted = tuple(name for name in options.providers if name in there) or (CPU,)
        session = SessionOptions(
            threads=options.threads, spinning=options.spinning, arena=options.arena, providers=wanted
        )
        self._embedder = Embedder(path, session, max_tokens=options.max_tokens)
        embedder = self._embedder
        self._engine = EmbeddingEngine(
            embedder.vectors,
            dim=embedder.dimension,
            batch_tokens=options.batch_tokens,
            threads=options.threads,
            emit=emit,
        )
        release_free_memory()
        resident = resident_bytes()
        self.loaded = Loaded(
            memory=Memory(
                weights_bytes=predicted.weights_bytes,
                kv_bytes=0,
                compute_bytes=predicted.compute_bytes,
                overhead_bytes=max(0, resident - predicted.weights_bytes),
                resident_bytes=resident,
            ),
            context_tokens=embedder.max_tokens,
            train_context_tokens=embedder.max_tokens,
            slots=options.slots,
            vocab_tokens=embedder.vocabulary,
            embedding_dim=embedder.dimension,
            has_chat_template=False,
            description=f"ONNX on {wanted[0].removesuffix('ExecutionProvider')}",
            load_s=time.monotonic() - started,
        )

    def run(self) -> None:
        self._engine.run()

    def submit(self, request: Request) -> None:
        """Raises `RequestError` for an empty input or a wrong token, `ContextOverflowError` for too long a one."""
        if not isinstance(request, Embed):
            raise RequestError("This model embeds text; it does nothing else.", param="model")
        self._engine.submit(self._job(request))

    def cancel(self, order: Cancel) -> None:
        self._engine.cancel(order)

    def set_threads(self, order: SetThreads) -> None:
        """ONNX Runtime fixes its threads when a session is opened; the governor paces requests instead."""

    def set_pace(self, order: SetPace) -> None:
        """A run of ONNX Runtime is a whole request, or a batch of them: between them there is nothing to pace."""

    def pong(self, seq: int) -> Pong:
        stats = self._engine.stats
        started = stats.step_started_at
        return Pong(
            seq=seq,
            step_age_s=0.0 if started is None else time.monotonic() - started,
            resident_bytes=resident_bytes(),
            prefix_cache_bytes=0,
            kv_used_tokens=0,
            active_sequences=stats.active,
            waiting_sequences=stats.waiting,
            batch_tokens=stats.batch_tokens,
            threads=stats.threads,
        )

    def _job(self, request: Embed) -> Job:
        embedder = self._embedder
        texts = [value for value in request.inputs if isinstance(value, str)]
        if len(texts) == len(request.inputs):
            prompt = embedder.prompt(request.prompt_name)
            empty = next((index for index, text in enumerate(texts) if not text), None)
            if empty is not None:
                raise RequestError(f"Input {empty} is empty.", param="input", hint="Leave empty texts out.")
            tokens = embedder.tokenize([prompt + text for text in texts], truncate=request.truncate)
            return Job(request.id, tokens.ids, tokens.truncated, request.normalize)
        if request.prompt_name is not None:
            raise RequestError("A prompt goes before text, not before tokens.", param="prompt_name")
        rows, truncated = [], []
        for index, value in enumerate(request.inputs):
            row = list(value) if not isinstance(value, str) else []
            if not row or not all(0 <= token < embedder.vocabulary for token in row):
                raise RequestError(
                    f"Input {index} has to be tokens from 0 to {embedder.vocabulary - 1}.", param="input"
                )
            if len(row) > embedder.max_tokens:
                if not request.truncate:
                    raise ContextOverflowError(
                        f"Input {index} has {len(row)} tokens; this model takes {embedder.max_tokens}.",
                        hint="Split the text, or send truncate: true.",
                        param="input",
                    )
                row = row[: embedder.max_tokens]
                truncated.append(index)
            rows.append(row)
        return Job(request.id, rows, tuple(truncated), request.normalize)
