"""A text encoder to ONNX, pooling included: one artifact folder per precision, measured against float32."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent.errors import ArtifactError, RequestError
from agent.store.names import check_name, check_version, suggest_name
from agent.terminal import print_json, size, table
from convert.quality.gates import QualityError, add_accept_option, check

if TYPE_CHECKING:
    from agent.store.manifest import Manifest
    from convert.embed.model import EmbeddingModel
    from convert.onnx.layers import Precision
    from convert.quality.vectors import FloatArray

NAME: Final = "embed"
HELP: Final = "a text encoder (BERT, MPNet, XLM-R, ...) to ONNX, for embeddings"
_DEFAULT_PRECISION: Final = "int8"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SRC", help="a folder, or a hub id such as sentence-transformers/all-MiniLM-L6-v2"
    )
    parser.add_argument(
        "--precision",
        default=_DEFAULT_PRECISION,
        metavar="NAME[,NAME...]",
        help=f"int8, fp32 or fp16 (for CUDA); default: {_DEFAULT_PRECISION}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the artifact folder; with several precisions the folder for NAME-PRECISION; default: the current folder",
    )
    parser.add_argument("--name", help="what to call the model; by default what the source is called")
    parser.add_argument("--version", default="1", help="which version it is (default: 1)")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--license", help="one line for the manifest")
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="sentences to measure on, one a line; default: 200 built-in ones"
    )
    add_accept_option(parser)
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="to measure with; default: one per core")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


@dataclass(frozen=True)
class Made:
    target: Path
    manifest: Manifest


def run(given: argparse.Namespace) -> int:
    targets = _targets(given)
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
            print("The checkpoint does not say how to pool: taking the mean of all tokens.", file=sys.stderr)
        conversion = _Conversion(given, model, label(given.source, folder), sentences)
        conversion.run(targets)
    _report(conversion.made, json=given.json)
    if conversion.refused:
        raise QualityError(" ".join(conversion.refused), hint="--accept-quality keeps it all the same.")
    return 0


def _targets(given: argparse.Namespace) -> dict[Precision, Path]:
    """Where each artifact goes: `--out` itself is for the only one. Checked before anything is downloaded."""
    from convert.onnx.layers import PRECISIONS
    from convert.source import source_name

    asked = list(dict.fromkeys(part.strip().lower() for part in given.precision.split(",")))
    for part in asked:
        if part not in PRECISIONS:
            raise RequestError(
                f"--precision: {ascii(part)[:40]} is unknown.", hint=f"Choose from {', '.join(PRECISIONS)}."
            )
    given.name = given.name or suggest_name(source_name(given.source))
    check_name(given.name)
    check_version(given.version)
    if given.threads < 0:
        raise RequestError(f"--threads: expected 0 or more, got {given.threads}.")
    folder = given.out or Path()
    # PRECISIONS begins with float32, which the others are measured against.
    targets = {precision: folder / f"{given.name}-{precision}" for precision in PRECISIONS if precision in asked}
    if len(targets) == 1 and given.out is not None:
        targets = dict.fromkeys(targets, given.out)
    for target in targets.values():
        if target.exists() or target.is_symlink():
            raise ArtifactError(
                f"{target} exists already.", hint="Choose another place with --out, or remove it first."
            )
    return targets


class _Conversion:
    """`made` are the artifacts that are there, `refused` says in words what was not good enough."""

    def __init__(self, given: argparse.Namespace, model: EmbeddingModel, source: str, sentences: list[str]) -> None:
        self.made: list[Made] = []
        self.refused: list[str] = []
        self._given = given
        self._model = model
        self._source = source
        self._sentences = sentences
        self._expected: FloatArray | None = None

    def run(self, targets: dict[Precision, Path]) -> None:
        from convert.artifact import new_artifact
        from convert.embed.artifact import write

        if "fp32" not in targets:
            graph = self._model.graph("fp32")
            place = next(iter(targets.values())).parent / f".{self._given.name}-reference"
            # Never finished, so it is gone when the block ends.
            with new_artifact(place, graph.weight_bytes) as staged:
                write(self._model, graph, staged.folder)
                self._expected = self._vectors(staged.folder)
        for precision, target in targets.items():
            try:
                self.made.append(Made(target, self._make(precision, target, len(targets) > 1)))
            except QualityError as error:
                self.refused.append(f"{precision}: {error.message}")

    def _make(self, precision: Precision, target: Path, one_of_several: bool) -> Manifest:
        from convert.artifact import new_artifact
        from convert.embed.artifact import manifest_fields, write

        graph = self._model.graph(precision)
        name = f"{self._given.name}-{precision}" if one_of_several else self._given.name
        with new_artifact(target, graph.weight_bytes) as staged:
            print(f"{name}, {precision}: {size(graph.weight_bytes)} of weights", file=sys.stderr, flush=True)
            write(self._model, graph, staged.folder)
            return staged.finish(
                name=name,
                version=self._given.version,
                source=self._source,
                license=self._given.license,
                quality=self._quality(staged.folder),
                **manifest_fields(self._model, precision, staged.folder),
            )

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


def _report(made: list[Made], *, json: bool) -> None:
    if json:
        print_json([_value(one) for one in made])
        return
    rows = []
    for one in made:
        quality = one.manifest.quality
        rows.append(
            [
                str(one.target),
                one.manifest.quantization,
                size(one.manifest.total_bytes),
                f"{quality['mean_cosine']:.4f}",
                f"{quality['worst_cosine']:.4f}",
                f"{quality['top1_agreement']:.1%}",
                f"{quality['rank_agreement']:.4f}",
                "yes" if quality["passed"] else "no, accepted",
            ]
        )
    if rows:
        heads = ("ARTIFACT", "PRECISION", "SIZE", "MEAN COSINE", "WORST", "SAME NEIGHBOR", "RANKS", "GOOD")
        print(table(rows, heads, right=(2, 3, 4, 5, 6)))


def _value(made: Made) -> dict[str, Any]:
    manifest = made.manifest
    return {
        "path": str(made.target),
        "name": manifest.name,
        "version": manifest.version,
        "quantization": manifest.quantization,
        "embedding_dim": manifest.embedding_dim,
        "bytes": manifest.total_bytes,
        "quality": manifest.quality,
    }
