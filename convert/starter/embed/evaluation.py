"""How near the student's similarities are to the teacher's, with the artifact in the engine that devices run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from convert.starter.embed.pairs import Pair

FloatArray = npt.NDArray[np.float32]


class Vectors(Protocol):
    """Texts -> float32 [texts, dimension]: `agent.engines.onnx.embedding.Embedder.embed`, `teacher.Teacher.vectors`."""

    def __call__(self, texts: Sequence[str], /) -> FloatArray: ...


def similarities(pairs: Sequence[Pair], vectors: Vectors) -> npt.NDArray[np.float64]:
    """The cosine of each pair, float64 [pairs]."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.left, pair.right)))
    made = vectors(texts).astype(np.float64)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    place = {text: index for index, text in enumerate(texts)}
    left = made[[place[pair.left] for pair in pairs]]
    right = made[[place[pair.right] for pair in pairs]]
    result: npt.NDArray[np.float64] = (left * right).sum(1)
    return result


def agreement(pairs: Sequence[Pair], student: Vectors, teacher: Vectors) -> dict[str, float]:
    """`spearman`: the rank correlation of the two models' cosines, over all pairs, and `spearman_KIND` of each kind
    alone; `mean_difference`, of the cosines; `pairs`.
    """
    ours, theirs = similarities(pairs, student), similarities(pairs, teacher)
    result = {
        "pairs": len(pairs),
        "spearman": spearman(ours, theirs),
        "mean_difference": round(float(np.abs(ours - theirs).mean()), 4),
    }
    for kind in dict.fromkeys(pair.kind for pair in pairs):
        chosen = [index for index, pair in enumerate(pairs) if pair.kind == kind]
        result[f"spearman_{kind}"] = spearman(ours[chosen], theirs[chosen])
    return result


def spearman(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Pearson's correlation of the ranks, rounded to four places; 0 where one side is constant."""
    first, second = _centered_ranks(left), _centered_ranks(right)
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return round(float((first * second).sum()) / scale, 4) if scale else 0.0


def _centered_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Equal values share the mean of their places."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return middle - middle.mean()
