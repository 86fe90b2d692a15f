"""What people use today: sentence-transformers on PyTorch in FP32; where it is not installed, what it does inside.

    PYTHON benchmarks/embedding/torch_peer.py CHECKPOINT_FOLDER THREADS SENTENCES.json

A script without imports of ours, for any interpreter that has PyTorch. Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

ROWS = 32
"""sentence-transformers' own batch size; it sorts by length too."""


def main(folder: str, threads: int, sentences_file: str) -> None:
    import torch

    torch.set_num_threads(threads)
    texts = json.loads(Path(sentences_file).read_text("utf-8"))
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        name, embed = "transformers", _with_transformers(folder)
    else:
        model = SentenceTransformer(folder, device="cpu")
        name, embed = "sentence-transformers", lambda given: model.encode(given, batch_size=ROWS)
    embed(texts[: 4 * ROWS])
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        embed(texts)
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"library": f"{name}, torch {torch.__version__}", "seconds": min(seconds)}))


def _with_transformers(folder: str) -> Any:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, torch_dtype=torch.float32).eval()

    def embed(texts: list[str]) -> Any:
        vectors = []
        with torch.inference_mode():
            ordered = sorted(texts, key=len, reverse=True)
            for start in range(0, len(ordered), ROWS):
                batch = tokenizer(
                    ordered[start : start + ROWS], padding=True, truncation=True, max_length=256, return_tensors="pt"
                )
                states = model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
                pooled = (states * mask).sum(1) / mask.sum(1)
                vectors.append(torch.nn.functional.normalize(pooled, dim=1).numpy())
        return vectors

    return embed


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
