"""Embeddings and search: speed, agreement and memory, against the raw ONNX loop and PyTorch in the same run.

    python -m benchmarks.embedding --model ARTIFACT_FOLDER                     # made by `edge-convert embed`
    python -m benchmarks.embedding --model ARTIFACT_FOLDER --torch-python PYTHON --checkpoint FOLDER
    python -m benchmarks.embedding --only search --only killed

All sides use the same threads (--threads, 2 unless said otherwise) and run in turns. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.embedding import embed_rows, search_rows
from benchmarks.embedding.embed_rows import Bench
from benchmarks.embedding.raw import RawModel
from benchmarks.report import Row, run_rows

_WITH_MODEL = ("single", "many", "concurrent", "same", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*_WITH_MODEL, *search_rows.GROUPS], help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke run: fewer repeats")
    parser.add_argument("--model", type=Path, help="the artifact's folder: manifest.json, the graph, tokenizer.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch-python", help="an interpreter with PyTorch and (sentence-)transformers")
    parser.add_argument("--checkpoint", type=Path, help="what the artifact was made from, for PyTorch")
    arguments = parser.parse_args()
    wanted = arguments.only or [*_WITH_MODEL, *search_rows.GROUPS]
    if arguments.model is None and set(wanted) & set(_WITH_MODEL):
        parser.error("--model is needed for " + ", ".join(name for name in wanted if name in _WITH_MODEL))
    with ExitStack() as stack:
        benches: list[Bench] = []

        def on_bench(group: Callable[[Bench], Iterator[Row]]) -> Iterator[Row]:
            if not benches:
                benches.append(_opened(stack, arguments.model, arguments.threads, quick=arguments.quick))
            yield from group(benches[0])

        with_model: dict[str, Callable[[Bench], Iterator[Row]]] = {
            "single": embed_rows.single,
            "many": lambda bench: embed_rows.many(bench, arguments.torch_python, arguments.checkpoint),
            "concurrent": embed_rows.concurrent,
            "same": embed_rows.same,
            "memory": embed_rows.memory,
        }
        groups: dict[str, Callable[[], Iterator[Row]]] = {
            name: partial(on_bench, group) for name, group in with_model.items() if name in wanted
        }
        for name, rows in search_rows.GROUPS.items():
            if name in wanted:
                groups[name] = partial(rows, quick=arguments.quick)
        facts = {
            "model": arguments.model.name if arguments.model else None,
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": arguments.threads,
            "quick": arguments.quick,
        }
        return 0 if run_rows(groups, facts) else 1


def _opened(stack: ExitStack, folder: Path, threads: int, *, quick: bool) -> Bench:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    graph = next(folder / file["path"] for file in manifest["files"] if file["path"].endswith(".onnx"))
    name = manifest["name"]
    daemon = Daemon(models={name: {"threads": threads, "preload": True}})
    daemon.import_model(folder, name)
    stack.enter_context(daemon)
    daemon.wait_until_loaded(name)
    max_tokens = manifest.get("context") or 512
    raw = stack.enter_context(RawModel(graph, folder / "tokenizer.json", threads, max_tokens))
    file_bytes = sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))
    return Bench(daemon, name, raw, file_bytes, threads, quick)


if __name__ == "__main__":
    sys.exit(main())
