"""A GGUF model served by a worker: text generation, or embeddings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.engines.llama.embedding import EmbeddingEngine
from agent.engines.llama.engine import Engine
from agent.engines.llama.library import start_backend
from agent.engines.llama.model import AbortFlag, LlamaModel
from agent.engines.llama.model import predict as predict_memory
from agent.engines.llama.prompt import PromptMaker
from agent.engines.process import give_large_blocks_back, release_free_memory, resident_bytes
from agent.engines.rehearsal import in_child
from agent.errors import EngineError, ModelLoadError, RequestError
from agent.runtime.wire.control import Cancel, Pong, SetPace, SetThreads
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.errors import WireError
from agent.runtime.wire.generation import Generate
from agent.runtime.wire.loading import Loaded
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.messages import FromWorker, Request
from agent.runtime.wire.options import LlamaOptions


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    memory: Memory | None = None
    error: WireError | None = None


def predict(path: Path, options: LlamaOptions) -> Memory:
    """What loading would take, found without allocating it. Raises `ModelLoadError`.

    In a child where the model is the processor's alone: a GPU's driver does not survive a fork, and is slow to start.
    """
    give_large_blocks_back()
    if sys.platform != "linux" or options.gpu_layers:
        start_backend()
        return predict_memory(path, options)
    answer = msgspec.msgpack.decode(in_child(lambda: _rehearse(path, options)), type=_Answer)
    start_backend()
    if answer.error is not None:
        raise ModelLoadError(answer.error.message, hint=answer.error.hint)
    assert answer.memory is not None
    overhead_bytes = answer.memory.overhead_bytes + resident_bytes()
    return msgspec.structs.replace(answer.memory, overhead_bytes=overhead_bytes)


def _rehearse(path: Path, options: LlamaOptions) -> bytes:
    """An `_Answer`, encoded; its `overhead_bytes` is what came to this process."""
    start_backend()
    try:
        answer = _Answer(memory=predict_memory(path, options, already_bytes=resident_bytes()))
    except EngineError as error:
        answer = _Answer(error=WireError(code=error.code, message=error.message, hint=error.hint))
    return msgspec.msgpack.encode(answer)


class LlamaService:
    """Loads the model on construction. Raises `ModelLoadError`."""

    def __init__(
        self, path: Path, options: LlamaOptions, predicted: Memory, emit: Callable[[list[FromWorker]], None]
    ) -> None:
        started = time.monotonic()
        abort = AbortFlag()
        model = LlamaModel(path, options, dry=False, abort=abort)
        kind = EmbeddingEngine if options.embedding else Engine
        self._engine: Engine | EmbeddingEngine = kind(model, options, emit, abort)
        self._engine.warm_up()
        facts, vocabulary = model.facts, model.vocabulary
        template = options.chat_template or facts.metadata.get("tokenizer.chat_template")
        self._prompts = PromptMaker(vocabulary, context_tokens=model.context_tokens, template_source=template or None)
        release_free_memory()
        memory = model.memory(
            overhead_bytes=predicted.overhead_bytes,
            prefix_cache_bytes=options.prefix_cache_bytes,
            resident=resident_bytes(),
        )
        self._gpu_bytes = memory.gpu_bytes
        self.loaded = Loaded(
            memory=memory,
            context_tokens=model.context_tokens,
            train_context_tokens=facts.train_context_tokens,
            slots=options.slots,
            vocab_tokens=vocabulary.size,
            embedding_dim=facts.embedding_dim if options.embedding else 0,
            has_chat_template=template is not None,
            description=facts.description,
            load_s=time.monotonic() - started,
        )

    def run(self) -> None:
        self._engine.run()

    def submit(self, request: Request, _came_s: float, /) -> None:
        match self._engine, request:
            case Engine() as engine, Generate():
                engine.submit(self._prompts.job(request))
            case EmbeddingEngine() as engine, Embed():
                engine.submit(request)
            case Engine(), _:
                raise RequestError("This model generates text; it does nothing else.", param="model")
            case _:
                raise RequestError("This model embeds text; it does nothing else.", param="model")

    def cancel(self, order: Cancel) -> None:
        self._engine.cancel(order)

    def set_threads(self, order: SetThreads) -> None:
        self._engine.set_threads(order)

    def set_pace(self, order: SetPace) -> None:
        self._engine.set_pace(order)

    def pong(self, seq: int) -> Pong:
        stats = self._engine.stats
        started = stats.step_started_at
        kv = self._engine.kv if isinstance(self._engine, Engine) else None
        return Pong(
            seq=seq,
            step_age_s=0.0 if started is None else time.monotonic() - started,
            resident_bytes=resident_bytes(),
            prefix_cache_bytes=kv.host.used_bytes if kv else 0,
            kv_used_tokens=kv.used_tokens if kv else 0,
            active_sequences=stats.active,
            waiting_sequences=stats.waiting,
            batch_tokens=stats.batch_tokens,
            threads=stats.threads,
            gpu_bytes=self._gpu_bytes,
        )
