"""What nobody can beat: ONNX Runtime and tokenizers alone, in a process of its own, asked over a pipe.

    python -m benchmarks.embedding.raw GRAPH.onnx TOKENIZER.json THREADS MAX_TOKENS

reads `{"op": "each" | "sorted", "texts": [...]}` a line and answers `{"seconds": [...]}`. ONNX Runtime has its
defaults, but for the threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

BATCH_TOKENS = 2048
"""Of a batch, padding included: what the engine takes too."""


class RawModel:
    """The child, as the parent sees it. Use as a context manager."""

    def __init__(self, graph: Path, tokenizer: Path, threads: int, max_tokens: int) -> None:
        command = [sys.executable, __file__, str(graph), str(tokenizer), str(threads), str(max_tokens)]
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __enter__(self) -> RawModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()

    def seconds(self, op: str, texts: list[str]) -> list[float]:
        """ "each": tokenization and one run for each text; "sorted": all of them at once. Raises `RuntimeError`."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"op": op, "texts": texts}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the raw loop has ended")
        found: list[float] = json.loads(line)["seconds"]
        return found


def _serve(graph: str, tokenizer_file: str, threads: int, max_tokens: int) -> None:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    names = [one.name for one in session.get_inputs()]

    def run(rows: list[list[int]]) -> Any:
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)], mask[index, : len(row)] = row, 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return session.run(None, {name: given[name] for name in names})

    def all_sorted(texts: list[str]) -> None:
        rows = sorted((one.ids for one in tokenizer.encode_batch_fast(texts)), key=len, reverse=True)
        start = 0
        while start < len(rows):
            end = start + max(1, BATCH_TOKENS // len(rows[start]))
            run(rows[start:end])
            start = end

    for line in sys.stdin:
        asked = json.loads(line)
        texts, seconds = asked["texts"], []
        for text in texts if asked["op"] == "each" else [""]:
            started = time.perf_counter()
            if asked["op"] == "each":
                run([tokenizer.encode(text).ids])
            else:
                all_sorted(texts)
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
