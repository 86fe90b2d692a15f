"""The model card: what starter-embed is, what it was measured to do, and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SETS: Final = {
    "held_out": "sentences of two subjects that training never saw (garden, music)",
    "general": "hand-written English of many fields, older than the generator (convert/quality/sentences.txt)",
    "docs": "sentences of edge-agent's own documentation",
}
KINDS: Final = {"same": "same meaning", "near": "related", "far": "any two"}

NOTICE: Final = """\
starter-embed is a modification of all-MiniLM-L6-v2 by the sentence-transformers project, which is licensed under the
Apache License, Version 2.0 (https://www.apache.org/licenses/LICENSE-2.0). Two of its six layers and a part of its word
embeddings were taken over and trained further to reproduce its vectors. It remains under that license.
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`computed_s` is the time of all threads together, by one clock; `measured` is by the name of the set."""

    parameters: int
    entries: int
    layers: int
    width: int
    max_tokens: int
    graph_bytes: int
    seed: int
    sentences: int
    computed_s: float
    measured: Mapping[str, Mapping[str, float]]
    lost: Mapping[str, float]


def card(facts: Facts) -> str:
    """In Markdown."""
    return _CARD.format(
        width=facts.width,
        millions=facts.parameters / 1e6,
        megabytes=facts.graph_bytes / 1e6,
        layers=facts.layers,
        entries=facts.entries,
        max_tokens=facts.max_tokens,
        rows="\n".join(_row(name, found) for name, found in facts.measured.items()),
        lost=facts.lost,
        seed=facts.seed,
        sentences=facts.sentences,
        minutes=facts.computed_s / 60,
    )


def _row(name: str, found: Mapping[str, float]) -> str:
    """`found` is what `evaluation.agreement` says of a set of pairs."""
    kinds = {words: found[f"spearman_{kind}"] for kind, words in KINDS.items() if f"spearman_{kind}" in found}
    by_kind = ", ".join(f"{words} {value:.2f}" for words, value in kinds.items())
    return f"| {SETS.get(name, name)} | {found['pairs']:,.0f} | **{found['spearman']:.3f}** | {by_kind} |"


_CARD: Final = """\
# starter-embed

A text encoder for English sentences that comes with edge-agent, so that search works before a model was downloaded:
vectors of {width} numbers, {millions:.1f} million parameters, {megabytes:.1f} MB.

It is all-MiniLM-L6-v2 made small: {layers} of its 6 layers and {entries:,} of its 30,522 vocabulary entries, trained to
reproduce its vectors and the similarities between them. Texts have up to {max_tokens} tokens; what is longer is cut.

## Measured

Rank correlation (Spearman) between the cosines of this model and those of all-MiniLM-L6-v2. This model ran as shipped,
in INT8 in the ONNX engine; the other in float32.

| pairs of | pairs | all | by kind of pair |
|---|---|---|---|
{rows}

INT8 against the same weights in float32, on 200 sentences: mean cosine {lost[mean_cosine]:.4f}, worst
{lost[worst_cosine]:.4f}, same nearest neighbor {lost[top1_agreement]:.1%}.

## What it can and cannot do

- English; it ignores case. Short questions, commands, notes, passages of a manual. It tells subjects apart well, and
  sees that two sentences say the same.
- It agrees with its teacher less on what its generator does not talk about: rare words, names, science, law, poetry.
  Among texts that have nothing to do with each other, which of them are the nearest means little.
- Other languages, code and numbers: no. "20 degrees" and "25 degrees" are neighbors, as they are for its teacher.
- Its vectors and those of all-MiniLM-L6-v2 do not belong in one collection, though they have one length. For better
  search: `edge-convert embed sentence-transformers/all-MiniLM-L6-v2` (23 MB).

## Made by

`python -m convert.starter.embed --out DIR --seed {seed}`: {sentences:,} sentences that a grammar makes, and of the
documentation strings in Python's standard library, labeled by the teacher; {minutes:.0f} minutes of computing on two
cores. No text that it was trained on is in it or comes with it.

License: Apache-2.0, as that of its teacher; see LICENSE and NOTICE.
"""
