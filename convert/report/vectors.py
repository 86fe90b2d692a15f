"""How the precisions of a text encoder are compared: the vectors of sentences, and sentences per second."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.session import SessionOptions
from agent.store.manifest import MemoryNeed
from convert.embed.artifact import manifest_fields, write
from convert.embed.model import EmbeddingModel
from convert.onnx.layers import Precision
from convert.quality.gates import check
from convert.quality.vectors import VECTOR_GATES, FloatArray, built_in_sentences, compare, embed_all, read_sentences
from convert.report.level import Column, Speed, Subject
from convert.report.onnx import FOR_CPU, FOR_CUDA, RATE, REFERENCE

_LIMITS = {gate.key: gate.limit for gate in VECTOR_GATES}
_TIMED_SENTENCES: Final = 64

EMBEDDING: Final = Subject(
    task="embed",
    loss=Column("mean_cosine", "Mean cosine", "{:.4f}"),
    ideal=1.0,
    limit=_LIMITS["mean_cosine"],
    axis="Loss: 1 less the mean cosine to fp32's vectors",
    negligible=0.01,
    why_negligible=(
        "A mean cosine of 0.99 or more to the vectors of fp32 counts as no loss; *same neighbor* says what a search "
        "would notice. Of levels without a loss the smallest is taken; of the others, the best that fits. fp16 is for "
        "boards with CUDA, and int8 for those without."
    ),
    columns=(
        Column("mean_cosine", "Mean cosine", "{:.4f}"),
        Column("worst_cosine", "Worst", "{:.4f}"),
        Column("top1_agreement", "Same neighbor", "{:.1%}"),
        Column("rank_agreement", "Ranks", "{:.4f}"),
    ),
    speeds=(Speed(RATE, "Speed", "sentences/s"),),
    method=(),
    speed_method=f"up to {_TIMED_SENTENCES} of the sentences, in batches of similar length",
    for_cuda=FOR_CUDA,
    for_cpu=FOR_CPU,
)
"""How embedding models are compared; `method` depends on the sentences."""


class VectorMaker:
    """A text encoder at several precisions, measured on sentences. See `onnx.Maker`.

    `text` is a file with one sentence a line, or None for the 200 built-in ones. Raises `RequestError` for a bad file.
    """

    def __init__(self, model: EmbeddingModel, text: Path | None, *, threads: int) -> None:
        self._model = model
        self._threads = threads
        self._sentences = built_in_sentences() if text is None else read_sentences(text)
        self._expected: tuple[Path, FloatArray] | None = None
        self.measured_on = "built-in sentences" if text is None else text.name
        self.subject = replace(EMBEDDING, method=_method(self.measured_on, len(self._sentences)))

    def needed_bytes(self, precisions: tuple[Precision, ...]) -> int:
        return sum(self._model.graph(precision).weight_bytes for precision in {REFERENCE, *precisions})

    def write(self, precision: Precision, folder: Path) -> MemoryNeed:
        write(self._model, self._model.graph(precision), folder)
        need = manifest_fields(self._model, precision, folder)["memory_bytes"]
        assert isinstance(need, MemoryNeed)
        return need

    def learn(self, folder: Path) -> None:
        self._expected = (folder, embed_all(folder, self._sentences, threads=self._threads))

    def judge(self, folder: Path) -> dict[str, Any]:
        assert self._expected is not None, "learn comes first"
        reference, expected = self._expected
        same = folder == reference
        vectors = expected if same else embed_all(folder, self._sentences, threads=self._threads)
        about = {"against": REFERENCE, "text": self.measured_on, "sentences": len(self._sentences)}
        return check({**compare(expected, vectors), **about}, VECTOR_GATES, accept=True)

    def pace(self, folder: Path, threads: int) -> float:
        embedder = Embedder(folder, SessionOptions(threads=threads))
        timed = self._sentences[:_TIMED_SENTENCES]
        embedder.embed(timed)
        started = time.perf_counter()
        embedder.embed(timed)
        return len(timed) / (time.perf_counter() - started)


def _method(name: str, count: int) -> tuple[str, ...]:
    limits = ", ".join(f"{gate.what} at {gate.at} {gate.limit:g}" for gate in VECTOR_GATES)
    return (
        f"**Quality**: {count} sentences ({name}). *Mean cosine* and *worst* are between a sentence's vector and that "
        "of fp32, 1 being the same direction; *same neighbor* is the share of sentences whose nearest other sentence "
        "is the same; *ranks* is Spearman's correlation of the similarities of all pairs.",
        f"**Gates**: {limits}.",
    )
