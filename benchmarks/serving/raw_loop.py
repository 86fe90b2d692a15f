"""The raw loop: the llama_cpp calls that serving needs, in one process, with nothing around them.

It is what the daemon is measured against. One decode step is: fill the batch, `llama_decode`, then per sequence
`llama_sampler_sample` with the chain the server would use and `llama_token_to_piece`.

    python -m benchmarks.serving.raw_loop model.gguf --batches 1,2,4,8
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import logging
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import llama_cpp
import numpy as np

Sampler = Literal["greedy", "default"]


@dataclass(frozen=True, kw_only=True)
class RawOptions:
    """How the model is run; the daemon under comparison must be given the same."""

    context_tokens: int = 4096
    sequences: int = 8
    batch_tokens: int = 512
    micro_batch_tokens: int = 512
    threads: int = 1
    kv_type: Literal["f16", "f32", "q8_0"] = "f16"


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A batched run. `first_token_s` is from the call to the last sequence's first token; then one time per step."""

    sequences: int
    first_token_s: float
    steps_s: list[float]

    @property
    def tokens_per_s(self) -> float:
        """All sequences together, over the decode steps only."""
        return self.sequences * len(self.steps_s) / sum(self.steps_s)


class RawLoop:
    """A model and a context with a unified KV cache. Raises `RuntimeError` where llama.cpp fails."""

    def __init__(self, path: str, options: RawOptions) -> None:
        logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
        llama_cpp.llama_backend_init()
        self._options = options
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = options.context_tokens
        params.n_batch, params.n_ubatch = options.batch_tokens, options.micro_batch_tokens
        params.n_seq_max = options.sequences
        params.n_threads = params.n_threads_batch = options.threads
        params.kv_unified = True
        params.type_k = params.type_v = {"f32": 0, "f16": 1, "q8_0": 8}[options.kv_type]
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError("llama.cpp cannot make a context")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary_size: int = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        self._piece = ctypes.create_string_buffer(256)
        self._make_batch(options.batch_tokens, options.sequences)

    def _make_batch(self, size: int, sequences: int) -> None:
        """A llama_batch whose arrays are numpy's: filled without a Python loop over tokens."""
        self._token = np.zeros(size, np.int32)
        self._position = np.zeros(size, np.int32)
        self._sequence_count = np.ones(size, np.int32)
        self._sequence_ids = np.arange(sequences, dtype=np.int32)
        self._sequence_pointer = np.zeros(size, np.uint64)
        self._logits = np.zeros(size, np.int8)
        kinds: dict[str, Any] = {field[0]: field[1] for field in llama_cpp.llama_batch._fields_}
        self._batch = llama_cpp.llama_batch()
        for name, array in (
            ("token", self._token), ("pos", self._position), ("n_seq_id", self._sequence_count),
            ("seq_id", self._sequence_pointer), ("logits", self._logits),
        ):  # fmt: skip
            setattr(self._batch, name, ctypes.cast(array.ctypes.data, kinds[name]))

    def tokenize(self, text: str) -> list[int]:
        raw = text.encode()
        buffer = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(self._vocabulary, raw, len(raw), buffer, len(buffer), True, False)
        return list(buffer[:count])

    def piece(self, token: int) -> bytes:
        size = llama_cpp.llama_token_to_piece(self._vocabulary, token, self._piece, 256, 0, False)
        return self._piece.raw[:size]

    def prompt(self, tokens: int, seed: int) -> str:
        """Words of the vocabulary that make exactly `tokens` tokens. Raises `RuntimeError` where none do."""
        rng = random.Random(seed)
        words: list[str] = []
        for _ in range(1000):
            missing = tokens - len(self.tokenize("".join(words)))
            if missing == 0:
                return "".join(words)
            if missing > 0:
                # A word may be several tokens: come near in strides, then word by word.
                words += [self._word(rng) for _ in range(max(1, missing // 4))]
            else:
                words.pop()
        raise RuntimeError(f"no text of exactly {tokens} tokens in this vocabulary")

    def partial_tokens(self) -> list[int]:
        """Tokens that show nothing when they are drawn: control tokens, and parts of a character, held back till it is
        complete."""
        found = []
        for token in range(self.vocabulary_size):
            try:
                shown = self.piece(token).decode()
            except UnicodeDecodeError:
                shown = ""
            if not shown:
                found.append(token)
        return found

    def _word(self, rng: random.Random) -> str:
        while True:
            piece = self.piece(rng.randrange(self.vocabulary_size))
            if piece[:1] == b" " and 1 < len(piece) < 10 and piece.isascii() and piece[1:].isalpha():
                return piece.decode()

    def run(self, prompts: Sequence[str], tokens: int, sampler: Sampler = "greedy") -> Steps:
        """Prefill each prompt in a sequence of its own, then `tokens - 1` steps over all of them at once."""
        llama_cpp.llama_memory_clear(self._memory, False)
        chains = [_chain(sampler, seed) for seed in range(len(prompts))]
        try:
            start = time.perf_counter()
            rows = [self.tokenize(prompt) for prompt in prompts]
            last = [self._prefill(i, row, chains[i]) for i, row in enumerate(rows)]
            times = [time.perf_counter()]
            count = len(rows)
            self._position[:count] = [len(row) for row in rows]
            self._sequence_pointer[:count] = self._sequence_ids.ctypes.data + 4 * np.arange(count)
            self._logits[:count] = 1
            for _ in range(tokens - 1):
                self._token[:count] = last
                self._decode(count)
                last = [self._sample(chain, i) for i, chain in enumerate(chains)]
                self._position[:count] += 1
                times.append(time.perf_counter())
        finally:
            for chain in chains:
                llama_cpp.llama_sampler_free(chain)
        steps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return Steps(sequences=count, first_token_s=times[0] - start, steps_s=steps)

    def _prefill(self, sequence: int, row: list[int], chain: Any) -> int:
        size = self._options.batch_tokens
        for begin in range(0, len(row), size):
            part = row[begin : begin + size]
            count = len(part)
            self._token[:count] = part
            self._position[:count] = np.arange(begin, begin + count)
            self._sequence_pointer[:count] = self._sequence_ids.ctypes.data + 4 * sequence
            self._logits[:count] = 0
            self._logits[count - 1] = begin + count == len(row)
            self._decode(count)
        return self._sample(chain, -1)

    def _decode(self, count: int) -> None:
        self._batch.n_tokens = count
        status = llama_cpp.llama_decode(self._context, self._batch)
        if status:
            raise RuntimeError(f"llama_decode: status {status} for a batch of {count}")

    def _sample(self, chain: Any, index: int) -> int:
        token: int = llama_cpp.llama_sampler_sample(chain, self._context, index)
        self.piece(token)
        return token


def _chain(sampler: Sampler, seed: int) -> Any:
    """Greedy, or the defaults of `agent.runtime.wire.generation.Sampling` in llama-server's order."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if sampler == "greedy":
        members = [llama_cpp.llama_sampler_init_greedy()]
    else:
        members = [
            llama_cpp.llama_sampler_init_top_k(40),
            llama_cpp.llama_sampler_init_top_p(0.95, 0),
            llama_cpp.llama_sampler_init_min_p(0.05, 0),
            llama_cpp.llama_sampler_init_temp(0.8),
            llama_cpp.llama_sampler_init_dist(seed),
        ]
    for member in members:
        llama_cpp.llama_sampler_chain_add(chain, member)
    return chain


def answer_lines(loop: RawLoop) -> None:
    """One JSON request per line of stdin, one JSON answer per line of stdout; ends with stdin."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "prompt":
            answer: dict[str, Any] = {"text": loop.prompt(request["tokens"], request["seed"])}
        elif request["op"] == "partial":
            answer = {"tokens": loop.partial_tokens()}
        else:
            steps = loop.run(request["prompts"], request["tokens"], request["sampler"])
            answer = {"first_token_s": steps.first_token_s, "steps_s": steps.steps_s}
        print(json.dumps(answer), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--batches", default="1,2,4,8", help="numbers of sequences")
    parser.add_argument("--tokens", type=int, default=64, help="tokens per sequence")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--context-tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kv-type", choices=["f16", "f32", "q8_0"], default="f16")
    parser.add_argument("--lines", action="store_true", help="answer JSON lines instead")
    arguments = parser.parse_args()
    batches = [int(part) for part in arguments.batches.split(",")]
    options = RawOptions(
        context_tokens=arguments.context_tokens,
        sequences=max(batches),
        threads=arguments.threads,
        kv_type=arguments.kv_type,
    )
    loop = RawLoop(arguments.model, options)
    if arguments.lines:
        answer_lines(loop)
        return
    results = []
    print(f"{'sampler':>8} {'batch':>5} {'tokens/s':>9} {'ms/step':>8} {'first token ms':>14}")
    samplers: tuple[Sampler, ...] = ("greedy", "default")
    for sampler in samplers:
        for batch in batches:
            prompts = [loop.prompt(arguments.prompt_tokens, seed) for seed in range(batch)]
            runs = [loop.run(prompts, arguments.tokens, sampler) for _ in range(arguments.repeats)]
            rate = statistics.median(run.tokens_per_s for run in runs)
            first_s = statistics.median(run.first_token_s for run in runs)
            step_s = statistics.median(step for run in runs for step in run.steps_s)
            print(f"{sampler:>8} {batch:>5} {rate:>9.1f} {step_s * 1e3:>8.2f} {first_s * 1e3:>14.1f}", flush=True)
            results.append(
                {"sampler": sampler, "batch": batch, "tokens_per_s": rate, "step_s": step_s, "first_token_s": first_s}
            )
    print(json.dumps({"model": arguments.model, "threads": arguments.threads, "results": results}))


if __name__ == "__main__":
    main()
