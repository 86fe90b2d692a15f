"""What an embedding model lost: the vectors of sentences from one artifact, against those from another.

A vector that turned a little harms nobody; a neighbor that is no longer the nearest is what a search shows. So both are
measured: the cosine between the two vectors of a sentence, and whether sentences keep their order by similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.embedding import Embedder
from agent.engines.onnx.session import SessionOptions
from agent.errors import EngineError, RequestError
from convert.quality.gates import Gate

SENTENCES_FILE: Final = Path(__file__).with_name("sentences.txt")
TEXT_LIMIT_BYTES: Final = 16 * 1024 * 1024
LEAST_SENTENCES: Final = 10
"""With fewer, the nearest neighbor says nothing."""
MOST_SENTENCES: Final = 2000
"""All pairs are compared: that is two million."""

VECTOR_GATES: Final = (
    Gate("mean_cosine", 0.985, "least", "mean cosine to the reference's vectors"),
    Gate("worst_cosine", 0.96, "least", "worst cosine of a sentence to the reference's vector"),
    Gate("top1_agreement", 0.95, "least", "share of sentences with the same nearest neighbor"),
)
"""Far above what a broken conversion reaches, and below what one scale for each row and column of a matrix does."""

FloatArray = npt.NDArray[np.float32]


def built_in_sentences() -> list[str]:
    """200 sentences of 2 to 62 words from many domains, with paraphrases and near misses among them."""
    return read_sentences(SENTENCES_FILE)


def read_sentences(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, each once, without empty ones; the first `MOST_SENTENCES`.

    Raises `RequestError` where it cannot be read, or has fewer than `LEAST_SENTENCES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_LIMIT_BYTES)
        text = data.decode("utf-8", "strict" if len(data) < TEXT_LIMIT_BYTES else "ignore")
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}.") from None
    lines = list(dict.fromkeys(line for line in map(str.strip, text.removeprefix("\ufeff").split("\n")) if line))
    if len(lines) < LEAST_SENTENCES:
        raise RequestError(
            f"{path} has {len(lines)} different lines, and {LEAST_SENTENCES} are needed.", hint="One sentence a line."
        )
    return lines[:MOST_SENTENCES]


def measure_vectors(reference: Path, candidate: Path, sentences: Sequence[str], *, threads: int) -> dict[str, float]:
    """Embed `sentences` with two folders that `Embedder` opens, and `compare` the vectors. One is open at a time.

    Raises `ModelLoadError` or `EngineError` for a folder that does not run, or vectors of different lengths.
    """
    expected = embed_all(reference, sentences, threads=threads)
    return compare(expected, embed_all(candidate, sentences, threads=threads))


def embed_all(folder: Path, sentences: Sequence[str], *, threads: int) -> FloatArray:
    """float32 [sentences, dimension]. Texts that are too long are cut."""
    return Embedder(folder, SessionOptions(threads=threads)).embed(sentences)


def compare(reference: FloatArray, candidate: FloatArray) -> dict[str, float]:
    """Two arrays [sentences, dimension], row by row:

    `mean_cosine` and `worst_cosine` between the two vectors of a sentence; `top1_agreement`, the share of sentences
    whose nearest other sentence is the same; `rank_agreement`, Spearman's correlation of the similarities of all pairs.
    Raises `EngineError` where the arrays cannot be compared.
    """
    if reference.shape != candidate.shape:
        raise EngineError(
            f"The vectors have {candidate.shape[1]} dimensions, the reference's {reference.shape[1]}.",
            hint="They are not of the same model.",
        )
    ours, theirs = _unit(candidate), _unit(reference)
    cosines = (ours * theirs).sum(axis=1)
    similar, expected = ours @ ours.T, theirs @ theirs.T
    pairs = np.triu_indices(len(ours), 1)
    spearman = _correlation(_ranks(similar[pairs]), _ranks(expected[pairs]))
    for matrix in (similar, expected):
        np.fill_diagonal(matrix, -np.inf)
    same = similar.argmax(axis=1) == expected.argmax(axis=1)
    return {
        "mean_cosine": round(float(cosines.mean()), 6),
        "worst_cosine": round(float(cosines.min()), 6),
        "top1_agreement": round(float(same.mean()), 6),
        "rank_agreement": round(spearman, 6),
    }


def _unit(vectors: FloatArray) -> npt.NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    result: npt.NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return result


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The place of each value in their order; equal ones share the mean of their places."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: npt.NDArray[np.float64] = (last - (counts - 1) / 2.0)[inverse]
    return middle


def _correlation(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Pearson's; 0 where one side is constant."""
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / scale if scale else 0.0
