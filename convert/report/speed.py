"""How fast GGUF files are on this machine: all of them in turns, so that what else it does meets each alike."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from agent.engines.llama.batch import Batch
from agent.engines.llama.library import llama, log, start_backend
from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import ModelLoadError
from convert.report.level import Rate

ROUNDS: Final = 3
PROMPT_TOKENS: Final = 256
DECODE_TOKENS: Final = 32

_WARM_UP_TOKENS: Final = 8
_LEAST_S: Final = 0.2
"""A measurement is repeated until it took this long: a small model answers faster than the clock is good for."""


def measure_speed(
    files: Mapping[str, Path], *, threads: int, rounds: int = ROUNDS, on_round: Callable[[int, str], None] | None = None
) -> dict[str, dict[str, Rate]]:
    """Tokens per second of each file: `{name: {"prefill": Rate, "decode": Rate}}`, one value per round.

    A prompt of 256 tokens in one step, then 32 tokens one after the other; an f16 KV cache, flash attention as
    llama.cpp chooses, the GPU where llama.cpp was built for one. One model is loaded at a time. `on_round(number,
    name)` is called before each. Raises `ModelLoadError`.
    """
    start_backend()
    prefill: dict[str, list[float]] = {name: [] for name in files}
    decode: dict[str, list[float]] = {name: [] for name in files}
    for number in range(1, rounds + 1):
        for name, path in files.items():
            if on_round is not None:
                on_round(number, name)
            with _Runner(path, threads) as runner:
                prefill[name].append(runner.prefill())
                decode[name].append(runner.decode())
    return {name: {"prefill": Rate(tuple(prefill[name])), "decode": Rate(tuple(decode[name]))} for name in files}


class _Runner:
    """One loaded model. `prefill` first, then `decode` behind it, each in tokens per second."""

    def __init__(self, path: Path, threads: int) -> None:
        log.clear()
        self._path = path
        self._context: Any = None
        parameters = llama.llama_model_default_params()
        parameters.load_mode = llama.LLAMA_LOAD_MODE_MMAP
        self._model: Any = llama.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise self._error("it is not a GGUF file that this llama.cpp can load")
        try:
            self._open(threads)
            vocabulary = Vocabulary(self._model)
            # Any tokens will do, as long as they are not all the same: the work does not depend on them.
            self._prompt = array("i", (17 + 31 * i for i in range(self._prompt_tokens)))
            self._prompt = array("i", (token % vocabulary.size for token in self._prompt))
            self._batch = Batch(self._prompt_tokens)
            self._feed(self._prompt[:_WARM_UP_TOKENS], 0)
        except BaseException:
            self._close()
            raise

    def _open(self, threads: int) -> None:
        trained = llama.llama_model_n_ctx_train(self._model) or PROMPT_TOKENS + DECODE_TOKENS
        self._prompt_tokens = min(PROMPT_TOKENS, max(1, trained - DECODE_TOKENS))
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = self._prompt_tokens + DECODE_TOKENS
        parameters.n_batch = parameters.n_ubatch = self._prompt_tokens
        parameters.n_outputs_max = 1
        parameters.n_seq_max = 1
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.no_perf = True
        self._context = llama.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise self._error("llama.cpp could not make a context for it")

    def prefill(self) -> float:
        def once() -> int:
            self._forget()
            self._feed(self._prompt, 0)
            return len(self._prompt)

        return _rate(once)

    def decode(self) -> float:
        def once() -> int:
            llama.llama_memory_seq_rm(llama.llama_get_memory(self._context), 0, len(self._prompt), -1)
            for i in range(DECODE_TOKENS):
                self._feed(self._prompt[i : i + 1], len(self._prompt) + i)
            return DECODE_TOKENS

        return _rate(once)

    def _forget(self) -> None:
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)

    def _feed(self, tokens: array[int], position: int) -> None:
        self._batch.clear()
        self._batch.add(tokens, position, 0, outputs=bytes(len(tokens) - 1) + b"\x01")
        status = llama.llama_decode(self._context, self._batch.struct())
        if status != 0:
            raise self._error(f"llama.cpp says {status}")
        llama.llama_synchronize(self._context)

    def _error(self, otherwise: str) -> ModelLoadError:
        return ModelLoadError(f"{self._path.name} cannot be run: {log.reason() or otherwise}.")

    def _close(self) -> None:
        if self._context:
            llama.llama_free(self._context)
        if self._model:
            llama.llama_model_free(self._model)
        self._context = self._model = None

    def __enter__(self) -> _Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def _rate(once: Callable[[], int]) -> float:
    """Tokens per second of `once`, which returns how many it did, over as many runs as a measurement takes."""
    done, started = 0, time.perf_counter()
    while True:
        done += once()
        elapsed_s = time.perf_counter() - started
        if elapsed_s >= _LEAST_S:
            return done / elapsed_s
