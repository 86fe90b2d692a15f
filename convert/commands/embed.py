"""A text encoder to ONNX, pooling included: one artifact folder per precision, measured against float32."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.terminal import size
from convert.commands.onnx_order import add_options, targets_of
from convert.commands.order import say
from convert.made import Made, Results
from convert.quality.gates import check

if TYPE_CHECKING:
    from convert.embed.model import EmbeddingModel
    from convert.onnx.layers import Precision
    from convert.quality.vectors import FloatArray

NAME: Final = "embed"
HELP: Final = "a text encoder (BERT, MPNet, XLM-R, ...) to ONNX, for embeddings"
_COLUMNS: Final = {
    "MEAN COSINE": ("mean_cosine", "{:.4f}"),
    "WORST": ("worst_cosine", "{:.4f}"),
    "SAME NEIGHBOR": ("top1_agreement", "{:.1%}"),
    "RANKS": ("rank_agreement", "{:.4f}"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_options(parser, example="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="sentences to measure on, one a line; default: 200 built-in ones"
    )


def run(given: argparse.Namespace) -> int:
    targets = targets_of(given)
    from convert.embed.model import open_model
    from convert.quality.vectors import built_in_sentences, read_sentences
    from convert.source import EVERYTHING_BUT_WEIGHTS, SAFETENSORS, label, resolve

    sentences = built_in_sentences() if given.text is None else read_sentences(given.text)
    wanted = (*EVERYTHING_BUT_WEIGHTS, *SAFETENSORS, "*Dense*/*.safetensors", "LICENSE*", "NOTICE*")
    folder = resolve(given.source, revision=given.revision, files=wanted)
    with open_model(folder) as model:
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        if model.head.assumed:
            say("The checkpoint does not say how to pool: taking the mean of all tokens.")
        results = _Conversion(given, model, label(given.source, folder), sentences).run(targets)
    results.tell(_COLUMNS, json=given.json)
    return 0


class _Conversion:
    def __init__(self, given: argparse.Namespace, model: EmbeddingModel, source: str, sentences: list[str]) -> None:
        self._given = given
        self._model = model
        self._source = source
        self._sentences = sentences
        self._expected: FloatArray | None = None

    def run(self, targets: dict[Precision, Path]) -> Results:
        from convert.artifact import new_artifact
        from convert.embed.artifact import write

        if "fp32" not in targets:
            graph = self._model.graph("fp32")
            place = next(iter(targets.values())).parent / f".{self._given.name}-reference"
            # Never finished, so it is gone when the block ends.
            with new_artifact(place, graph.weight_bytes) as staged:
                write(self._model, graph, staged.folder)
                self._expected = self._vectors(staged.folder)
        results = Results()
        for precision, target in targets.items():
            results.take(precision, partial(self._make, precision, target, len(targets) > 1))
        return results

    def _make(self, precision: Precision, target: Path, one_of_several: bool) -> Made:
        from convert.artifact import new_artifact
        from convert.embed.artifact import manifest_fields, write

        graph = self._model.graph(precision)
        name = f"{self._given.name}-{precision}" if one_of_several else self._given.name
        with new_artifact(target, graph.weight_bytes) as staged:
            say(f"{name}, {precision}: {size(graph.weight_bytes)} of weights")
            write(self._model, graph, staged.folder)
            manifest = staged.finish(
                name=name,
                version=self._given.version,
                source=self._source,
                license=self._given.license,
                quality=self._quality(staged.folder),
                **manifest_fields(self._model, precision, staged.folder),
            )
        return Made(target, manifest)

    def _quality(self, folder: Path) -> dict[str, Any]:
        from convert.quality.vectors import VECTOR_GATES, compare

        vectors = self._vectors(folder)
        if self._expected is None:
            self._expected = vectors
        text = "built-in" if self._given.text is None else self._given.text.name
        about = {"against": "fp32", "text": text, "sentences": len(self._sentences)}
        return check({**compare(self._expected, vectors), **about}, VECTOR_GATES, accept=self._given.accept_quality)

    def _vectors(self, folder: Path) -> FloatArray:
        from convert.quality.vectors import embed_all

        return embed_all(folder, self._sentences, threads=self._given.threads)
