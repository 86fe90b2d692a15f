"""Makes the expected vectors: needs torch 2.13.0, transformers 5.23.0 and ml_dtypes.

    python -m tests.convert.embed.make_fixtures FOLDER_OF_ALL_MINILM_L6_V2

The pooling is written out here once more, after sentence-transformers' description, so that it checks ours.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from tests.convert.embed.sentences import SENTENCES
from tests.convert.embed.small_encoders import CASES, TEXTS, Case, dense_tensors, tokenizer_of, write_encoder

FIXTURES = Path(__file__).with_name("fixtures")


def states_of(folder: Path, ids: list[list[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all texts at once, padded: [texts, n, width], and the mask [texts, n, 1]."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    longest = max(map(len, ids))
    padded = torch.tensor([row + [padding] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    with torch.no_grad():
        return model(input_ids=padded, attention_mask=mask).last_hidden_state, mask.unsqueeze(-1).float()


def pooled(states: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    rows = [row[: int(count)] for row, count in zip(states, mask.sum((1, 2)), strict=True)]
    makers = {
        "cls_token": lambda row: row[0],
        "lasttoken": lambda row: row[-1],
        "max_tokens": lambda row: row.max(0).values,
        "mean_tokens": lambda row: row.mean(0),
        "mean_sqrt_len_tokens": lambda row: row.sum(0) / len(row) ** 0.5,
        "weightedmean_tokens": lambda row: torch.arange(1.0, len(row) + 1) @ row / sum(range(1, len(row) + 1)),
    }
    return torch.stack([makers[mode](row) for row in rows])


def small(case: Case, folder: Path) -> torch.Tensor:
    write_encoder(folder, case)
    ids = [encoding.ids for encoding in tokenizer_of(case).encode_batch(TEXTS)]
    states, mask = states_of(folder, ids, 1 if "robert" in case.model_type or case.model_type == "mpnet" else 0)
    x = torch.cat([pooled(states, mask, mode) for mode in case.pooling], 1)
    if case.dense:
        dense = {name: torch.tensor(array) for name, array in dense_tensors(case).items()}
        x = torch.tanh(x @ dense["linear.weight"].T + dense["linear.bias"])
    return torch.nn.functional.normalize(x) if case.normalize else x


def minilm(folder: Path) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(folder)(SENTENCES, truncation=True, max_length=256)["input_ids"]
    return torch.nn.functional.normalize(pooled(*states_of(folder, ids, 0), "mean_tokens"))


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        vectors = {name: small(case, Path(scratch) / name).numpy() for name, case in CASES.items()}
    np.savez(FIXTURES / "small_encoders.npz", **vectors)
    np.save(FIXTURES / "all_minilm_l6_v2.npy", minilm(Path(sys.argv[1])).numpy())


if __name__ == "__main__":
    main()
