"""An embedding model in ONNX served by a worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.embedding_engine import EmbeddingEngine, Job
from agent.engines.onnx.embedding_folder import read_folder
from agent.engines.onnx.service import OnnxService, measured, place_of, session_options
from agent.engines.process import give_large_blocks_back, release_free_memory
from agent.errors import ContextOverflowError, RequestError
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.messages import FromWorker, Request
from agent.runtime.wire.options import OnnxOptions

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


class EmbeddingService(OnnxService[EmbeddingEngine]):
    """Loads the model on construction. Raises `ModelLoadError`."""

    def __init__(
        self, path: Path, options: OnnxOptions, predicted: Memory, emit: Callable[[list[FromWorker]], None]
    ) -> None:
        started = time.monotonic()
        os.environ.setdefault("RAYON_NUM_THREADS", str(options.threads))  # the tokenizer would take every core
        session = session_options(options)
        embedder = Embedder(path, session, max_tokens=options.max_tokens)
        engine = EmbeddingEngine(
            embedder.vectors,
            dim=embedder.dimension,
            batch_tokens=options.batch_tokens,
            threads=options.threads,
            emit=emit,
        )
        release_free_memory()
        loaded = Loaded(
            memory=measured(predicted),
            context_tokens=embedder.max_tokens,
            train_context_tokens=embedder.max_tokens,
            slots=options.slots,
            vocab_tokens=embedder.vocabulary,
            embedding_dim=embedder.dimension,
            has_chat_template=False,
            description=place_of(session),
            load_s=time.monotonic() - started,
        )
        super().__init__(engine, loaded)
        self._embedder = embedder

    def submit(self, request: Request, _came_s: float, /) -> None:
        """Raises `RequestError` for an empty input or a wrong token, `ContextOverflowError` for too long a one."""
        if not isinstance(request, Embed):
            raise RequestError("This model embeds text; it does nothing else.", param="model")
        self._engine.submit(self._job(request))

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
