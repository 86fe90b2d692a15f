"""What an imatrix collected here holds, against the same sums done in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.engines.llama.library import llama, start_backend
from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import ArtifactError, RequestError
from convert.quantization.header import read_header
from convert.quantization.imatrix import read_imatrix
from convert.quantization.imatrix_source import collect_imatrix
from tests.convert.quantization.conftest import STORIES
from tests.convert.quantization.models import CONTEXT, EPSILON, weights


def tokens_of(path: Path, count: int) -> list[int]:
    start_backend()
    parameters = llama.llama_model_default_params()
    parameters.vocab_only = True
    model = llama.llama_model_load_from_file(str(path).encode(), parameters)
    found = Vocabulary(model).tokenize(STORIES.read_text("utf-8"), add_special=True, parse_special=False)[:count]
    llama.llama_model_free(model)
    return list(found)


def test_inputs_of_the_first_layer_are_summed_as_numpy_sums_them(wide_model: Path, wide_imatrix: Path) -> None:
    known, matrix = weights(wide_model), read_imatrix(wide_imatrix)
    rows = known["token_embd.weight"][tokens_of(wide_model, 4 * CONTEXT)].astype(np.float64)
    normed = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + EPSILON) * known["blk.0.attn_norm.weight"]
    for part in ("attn_q", "attn_k", "attn_v"):
        entry = matrix.entries[f"blk.0.{part}.weight"]
        np.testing.assert_allclose(entry.sums[0], (normed**2).sum(axis=0), rtol=1e-4)
        assert entry.counts.tolist() == [4 * CONTEXT]


def test_every_matrix_of_every_layer_has_an_entry_and_nothing_else_has(wide_model: Path, wide_imatrix: Path) -> None:
    matrix = read_imatrix(wide_imatrix)
    matrices = {n for n, t in read_header(wide_model).tensors.items() if n.startswith("blk.") and len(t.shape) > 1}
    assert set(matrix.entries) == matrices
    assert (matrix.chunks, matrix.chunk_tokens, matrix.datasets) == (4, CONTEXT, (STORIES.name,))


def test_experts_are_counted_by_who_chose_them(expert_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "imatrix.gguf"
    collect_imatrix(read_header(expert_model), STORIES, target, chunks=2)
    entries = read_imatrix(target).entries
    router, gate, down = (entries[f"blk.0.ffn_{part}.weight"] for part in ("gate_inp", "gate_exps", "down_exps"))
    assert gate.counts.sum() == 2 * router.counts[0] == 2 * 2 * CONTEXT
    assert (gate.counts > 0).all()
    assert gate.counts.tolist() == down.counts.tolist()
    # Each token is seen by two experts, so what all of them saw is twice what the router saw.
    np.testing.assert_allclose(gate.sums.sum(axis=0), 2 * router.sums[0], rtol=1e-4)
    assert down.sums.shape == (4, 512)


def test_the_same_text_twice_gives_the_same_bytes(wide_model: Path, wide_imatrix: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.gguf"
    collect_imatrix(read_header(wide_model), STORIES, again, chunks=4)
    assert again.read_bytes() == wide_imatrix.read_bytes()


def test_an_encoder_is_collected_in_whole_chunks(embedding_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "imatrix.gguf"
    collect_imatrix(read_header(embedding_model), STORIES, target, chunks=1)
    matrix = read_imatrix(target)
    assert matrix.entries["blk.0.ffn_up.weight"].counts.tolist() == [512]


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"too short", RequestError, "at least 128 are needed"),
        (b" \n", ArtifactError, "is empty"),
        (b"caf\xe9 " * 1000, ArtifactError, "not UTF-8 text: byte 3"),
    ],
)
def test_texts_that_will_not_do(
    wide_model: Path, tmp_path: Path, content: bytes, error: type[Exception], says: str
) -> None:
    text, target = tmp_path / "text.txt", tmp_path / "imatrix.gguf"
    text.write_bytes(content)
    with pytest.raises(error, match=says):
        collect_imatrix(read_header(wide_model), text, target)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
