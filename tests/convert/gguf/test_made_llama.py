"""`edge-convert gguf` on a checkpoint that the test makes itself: the GGUF computes what transformers does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from agent.store.manifest import read_manifest
from tests.convert.gguf.made_llama import HEAD, HEADS, KV_HEADS, WIDTH, weights, write_llama

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentencepiece")
pytestmark = pytest.mark.torch

REPO = Path(__file__).resolve().parents[3]
PROMPT = [1, 300, 17, 280, 44, 301, 9]
LOGITS = (
    "import sys, json; import numpy as np; from llama_cpp import Llama;"
    "model = Llama(sys.argv[1], n_ctx=64, n_threads=1, logits_all=True, verbose=False, flash_attn=False);"
    "tokens = json.loads(sys.argv[2]); model.eval(tokens);"
    "np.save(sys.argv[3], np.array(model.scores[:len(tokens)]))"
)


def convert(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convert.cli", "gguf", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO, timeout=300, check=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("made") / "made-llama")


@pytest.fixture(scope="module")
def artifact(checkpoint: Path) -> Path:
    out = checkpoint.parent / "f32"
    done = convert(checkpoint, "--quant", "F32", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head as llama.cpp has them: rotary pairs side by side instead of half a head apart."""
    return matrix.reshape(heads, 2, HEAD // 2, WIDTH).swapaxes(1, 2).reshape(matrix.shape)


def test_tensors_are_the_checkpoints_bit_for_bit(artifact: Path) -> None:
    made = {str(tensor.name): np.array(tensor.data) for tensor in gguf.GGUFReader(artifact / "model.gguf").tensors}
    source = weights()
    layer = "model.layers.1.self_attn"
    expected = {
        "token_embd.weight": source["model.embed_tokens.weight"],
        "output.weight": source["lm_head.weight"],
        "output_norm.weight": source["model.norm.weight"],
        "blk.1.ffn_down.weight": source["model.layers.1.mlp.down_proj.weight"],
        "blk.1.attn_v.weight": source[f"{layer}.v_proj.weight"],
        "blk.1.attn_q.weight": interleaved(source[f"{layer}.q_proj.weight"], HEADS),
        "blk.1.attn_k.weight": interleaved(source[f"{layer}.k_proj.weight"], KV_HEADS),
    }
    assert len(made) == len(source)
    for name, values in expected.items():
        assert np.array_equal(made[name], values), name


def test_logits_are_transformers(artifact: Path, checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = model(torch.tensor([PROMPT])).logits[0].numpy()
    arguments = [str(artifact / "model.gguf"), str(PROMPT), str(tmp_path / "logits.npy")]
    subprocess.run([sys.executable, "-c", LOGITS, *arguments], check=True, capture_output=True)
    # The KV cache is float16.
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=2e-2, rtol=1e-2)


def test_the_same_checkpoint_makes_the_same_bytes(artifact: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert convert(checkpoint, "--quant", "F32", "--out", tmp_path / "again").returncode == 0
    for name in ("model.gguf", "manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (artifact / name).read_bytes()


def test_a_quantization_is_measured_and_says_so(checkpoint: Path, tmp_path: Path) -> None:
    done = convert(checkpoint, "--quant", "Q8_0", "--out", tmp_path / "q8")
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "q8" / "manifest.json")
    assert manifest.quantization == "Q8_0"
    assert manifest.quality["passed"]
    assert 0 < manifest.quality["kl_mean"] < 0.2
