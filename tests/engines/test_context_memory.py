"""A long context takes its memory when the model is loaded, and none later: no request can make a board swap."""

from __future__ import annotations

from pathlib import Path

from agent.runtime.wire.options import LlamaOptions
from benchmarks.process import resident_bytes
from tests.engines.worker_process import WorkerProcess

TOKENS = 8192
OWN_BYTES = 3 * 2**20
"""What a worker may take for a long prompt besides llama.cpp's buffers: the text, its tokens, a buffer of messages."""


def options_of(context_tokens: int) -> LlamaOptions:
    return LlamaOptions(context_tokens=context_tokens, slots=1, batch_tokens=256, prefix_cache_bytes=0, kv_type="f32")


def test_a_context_is_taken_when_the_model_is_loaded_and_not_when_it_is_filled(tiny_model: Path) -> None:
    with WorkerProcess(tiny_model, options_of(256)) as small:
        assert small.loaded is not None
        small_bytes, small_kv_bytes = resident_bytes(small.process.pid), small.loaded.memory.kv_bytes
    with WorkerProcess(tiny_model, options_of(TOKENS)) as worker:
        assert worker.loaded is not None
        memory, loaded_bytes = worker.loaded.memory, resident_bytes(worker.process.pid)
        answer = worker.generate(prompt="x" * (TOKENS // 2), max_tokens=8, cache_prompt=False)
        filled_bytes = resident_bytes(worker.process.pid)
    assert answer.finished[0].prompt_tokens > 0.4 * TOKENS
    cache_bytes = memory.kv_bytes - small_kv_bytes
    assert cache_bytes > OWN_BYTES
    assert loaded_bytes - small_bytes > 0.7 * cache_bytes
    assert filled_bytes - loaded_bytes <= memory.compute_bytes + OWN_BYTES  # which the model was charged with, too
