"""From the trained student to the artifact that ships: INT8 ONNX, measured in the engine, with its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.session import SessionOptions
from agent.store.manifest import Manifest
from convert.artifact import new_artifact
from convert.embed.artifact import manifest_fields, write
from convert.embed.model import open_model
from convert.quality.gates import Gate, check
from convert.quality.vectors import VECTOR_GATES, built_in_sentences, compare, embed_all
from convert.starter.embed.card import NOTICE, Facts, card
from convert.starter.embed.evaluation import Vectors, agreement
from convert.starter.embed.pairs import Pair

NAME: Final = "starter-embed"
VERSION: Final = "1"
SOURCE: Final = "convert/starter/embed, distilled from sentence-transformers/all-MiniLM-L6-v2"
LICENSE: Final = "Apache-2.0, as its teacher all-MiniLM-L6-v2"
LICENSE_FILE: Final = Path(__file__).with_name("apache-2.0.txt")
LEAST_SPEARMAN: Final = 0.80
GATES: Final = (
    *VECTOR_GATES,
    Gate("spearman_held_out", LEAST_SPEARMAN, "least", "rank correlation with the teacher on subjects not trained on"),
    Gate("spearman_general", LEAST_SPEARMAN, "least", "rank correlation with the teacher on hand-written sentences"),
)


@dataclass(frozen=True)
class Training:
    """What the card says of how it was made."""

    seed: int
    sentences: int
    computed_s: float


def pack(
    checkpoint: Path,
    target: Path,
    teacher: Vectors,
    sets: Mapping[str, Sequence[Pair]],
    training: Training,
    *,
    threads: int = 0,
    accept: bool = False,
) -> Manifest:
    """Make the artifact `target` of the student saved in `checkpoint`.

    `sets` are the pairs to measure, by name. Raises `QualityError` for a missed gate unless `accept`; then nothing is
    written.
    """
    with open_model(checkpoint) as model:
        graph = model.graph("fp32")
        sentences = built_in_sentences()
        with new_artifact(target.with_name(f".{target.name}-reference"), graph.weight_bytes) as staged:
            write(model, graph, staged.folder)  # never finished, so it is gone when the block ends
            reference = embed_all(staged.folder, sentences, threads=threads)
        graph = model.graph("int8")
        with new_artifact(target, graph.weight_bytes) as staged:
            write(model, graph, staged.folder)
            measured = measure(staged.folder, teacher, sets, threads=threads)
            lost = compare(reference, embed_all(staged.folder, sentences, threads=threads))
            quality: dict[str, Any] = {**lost, "against": "fp32", "text": "built-in", "sentences": len(sentences)}
            quality |= {f"{key}_{name}": value for name, found in measured.items() for key, value in found.items()}
            fields = manifest_fields(model, "int8", staged.folder)
            facts = Facts(
                parameters=model.parameters(),
                entries=model.shape.vocabulary,
                layers=model.shape.layers,
                width=model.shape.width,
                max_tokens=model.max_tokens,
                graph_bytes=(staged.folder / "model.onnx").stat().st_size,
                seed=training.seed,
                sentences=training.sentences,
                computed_s=training.computed_s,
                measured=measured,
                lost=lost,
            )
            (staged.folder / "README.md").write_text(card(facts), "utf-8")
            staged.copy(LICENSE_FILE, "LICENSE")
            (staged.folder / "NOTICE").write_text(NOTICE, "utf-8")
            return staged.finish(
                name=NAME,
                version=VERSION,
                source=SOURCE,
                license=LICENSE,
                quality=check(quality, GATES, accept=accept),
                **fields,
            )


def measure(
    artifact: Path, teacher: Vectors, sets: Mapping[str, Sequence[Pair]], *, threads: int = 0
) -> dict[str, dict[str, float]]:
    """What `evaluation.agreement` says of each set, with the artifact in the engine."""
    embedder = Embedder(artifact, SessionOptions(threads=threads))
    return {name: agreement(pairs, embedder.embed, teacher) for name, pairs in sets.items()}
