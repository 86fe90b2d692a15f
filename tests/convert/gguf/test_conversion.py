"""`edge-convert gguf` from end to end, with llama.cpp's converter: it needs torch, and a network the first time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest

from agent.store.manifest import read_manifest
from convert.checkpoint import open_checkpoint
from tests.convert.hf_folder import write_checkpoint, write_safetensors
from tests.convert.hub_server import COMMIT, Hub, running

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

REPO = Path(__file__).resolve().parents[3]
SHARED = REPO / ".." / "shared"
STORY = ", there was a little girl named Lily. She loved to play outside in the park."
PROMPT = "Once upon a time"


def convert(*arguments: str | Path, environment: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convert.cli", "gguf", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=REPO, timeout=300, check=False, env=dict(environment)
    )


@pytest.fixture(scope="module")
def stories() -> Path:
    folder = SHARED / "models" / "stories260k-hf"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture
def copy(stories: Path, tmp_path: Path) -> Path:
    """One that may be changed."""
    folder = tmp_path / "stories"
    shutil.copytree(stories, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    return folder


def tensors(path: Path) -> dict[str, tuple[int, tuple[int, ...], bytes]]:
    return {
        str(tensor.name): (int(tensor.tensor_type), tuple(map(int, tensor.shape)), tensor.data.tobytes())
        for tensor in gguf.GGUFReader(path).tensors
    }


def greedy(model: Path, tokens: int, lora: Path | None = None) -> str:
    """What the model writes after PROMPT, in a process of its own."""
    program = (
        "import sys; from llama_cpp import Llama; model, lora, prompt, tokens = sys.argv[1:];"
        "made = Llama(model, lora_path=lora or None, n_ctx=256, n_threads=1, verbose=False);"
        "print(made(prompt, max_tokens=int(tokens), temperature=0)['choices'][0]['text'], end='')"
    )
    arguments = [str(model), str(lora or ""), PROMPT, str(tokens)]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    ).stdout


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.update(values)
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def store_as(folder: Path, dtype: Any, shards: int) -> None:
    """The same weights in another type and in several files."""
    with open_checkpoint(folder) as checkpoint:
        weights = {name: checkpoint.tensor(name).astype(dtype) for name in checkpoint.names()}
    config = json.loads((folder / "config.json").read_text())
    (folder / "model.safetensors").unlink()
    write_checkpoint(folder, config, weights, shards=shards)


def test_f32_is_bit_for_bit_the_reference_and_the_same_each_time(stories: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        done = convert(stories, "--quant", "F32", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    made = tmp_path / "first" / "model.gguf"
    assert tensors(made) == tensors(SHARED / "models" / "stories260k-f32.gguf")
    for name in ("model.gguf", "manifest.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert greedy(made, 30).startswith(STORY)


def test_several_quantizations_each_measured(stories: Path, tmp_path: Path) -> None:
    done = convert(
        stories, "--quant", "q8_0,Q4_K_M", "--out", tmp_path / "out", "--name", "tiny", "--json", "--keep-f16"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [one["quantization"] for one in told] == ["Q8_0", "Q4_K_M", "F32"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny-F32", "tiny-Q4_K_M", "tiny-Q8_0"]
    for one in told:
        manifest = read_manifest(Path(one["path"]) / "manifest.json")
        assert (manifest.name, manifest.source) == (f"tiny-{one['quantization']}", "stories260k-hf")
        assert manifest.quality["passed"]
    assert greedy(tmp_path / "out" / "tiny-Q8_0" / "model.gguf", 30).startswith(STORY)


@pytest.mark.parametrize(("dtype", "kind", "shards"), [(ml_dtypes.bfloat16, "BF16", 3), (np.float16, "F16", 1)])
def test_sixteen_bits_stay_what_they_are(copy: Path, tmp_path: Path, dtype: Any, kind: str, shards: int) -> None:
    store_as(copy, dtype, shards)
    done = convert(copy, "--quant", kind, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    number = {"BF16": gguf.GGMLQuantizationType.BF16, "F16": gguf.GGMLQuantizationType.F16}[kind]
    made = tensors(tmp_path / "out" / "model.gguf")
    assert made["token_embd.weight"][0] == number
    with open_checkpoint(copy) as checkpoint:
        weights = checkpoint.tensor("model.embed_tokens.weight").astype(dtype)
    assert made["token_embd.weight"][2] == weights.tobytes()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda folder: change(folder, hidden_size=None), "cannot be loaded"),
        (lambda folder: change(folder, num_hidden_layers=3), "nothing that the tensor model.layers.3"),
        (lambda folder: change(folder, architectures=["FooForCausalLM"]), "the architecture FooForCausalLM"),
        (lambda folder: (folder / "tokenizer.model").write_bytes(b"noise"), "tokenizer"),
    ],
)  # fmt: skip
def test_what_the_converter_refuses_leaves_nothing(
    copy: Path, tmp_path: Path, breaks: Callable[[Path], object], says: str
) -> None:
    breaks(copy)
    (tmp_path / "out").mkdir()
    done = convert(copy, "--quant", "Q8_0", "--out", tmp_path / "out" / "new")
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_programs_of_the_checkpoint_run_only_when_trusted(copy: Path, tmp_path: Path) -> None:
    noted = tmp_path / "ran"
    change(copy, architectures=["DreamModel"])  # whose tokenizer is loaded with trust
    (copy / "tokenizer.model").unlink()
    (copy / "vocab.json").write_text("{}")
    (copy / "merges.txt").touch()
    config = {"auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}, "tokenizer_class": "X"}
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    (copy / "tokenization_x.py").write_text(f"import pathlib\npathlib.Path({str(noted)!r}).touch()\nclass X: pass\n")
    first = convert(copy, "--out", tmp_path / "out")
    assert (first.returncode, noted.exists()) == (1, False), first.stderr
    assert "--trust-remote-code" in first.stderr
    convert(copy, "--out", tmp_path / "out", "--trust-remote-code")
    assert noted.exists()


def test_an_adapter_changes_what_its_base_writes(stories: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "lora_alpha": 8, "r": 4, "base_model_name_or_path": str(stories)}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    weights = {}
    for layer in range(5):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = generator.standard_normal((4, 64)).astype(np.float32)
        weights[f"{name}.lora_B.weight"] = generator.standard_normal((64, 4)).astype(np.float32)
    write_safetensors(adapter / "adapter_model.safetensors", weights)
    for name in ("a.gguf", "b.gguf"):
        done = convert(adapter, "--lora", "--base", stories, "--quant", "F32", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    made = tensors(tmp_path / "a.gguf")
    assert len(made) == len(weights)
    base = SHARED / "models" / "stories260k-f32.gguf"
    assert greedy(base, 12, tmp_path / "a.gguf") != greedy(base, 12)


def test_from_the_hub_then_without_a_network(stories: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in stories.iterdir()}
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub")}
    with running(Hub({"karpathy/stories": files})) as hub:
        online = {**environment, "HF_ENDPOINT": hub.url}
        first = convert("karpathy/stories", "--quant", "F32", "--out", tmp_path / "first", environment=online)
    assert first.returncode == 0, first.stderr
    offline = {**environment, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}
    second = convert("karpathy/stories", "--quant", "F32", "--out", tmp_path / "second", environment=offline)
    assert second.returncode == 0, second.stderr
    for name in ("model.gguf", "manifest.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    manifest = read_manifest(tmp_path / "first" / "manifest.json")
    assert (manifest.name, manifest.source) == ("stories", f"karpathy/stories@{COMMIT}")
    assert manifest.metadata["title"] == "Stories"
